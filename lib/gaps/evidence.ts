/**
 * What an answer of REST proves, the rules: an answer speaks only of the ids between its own newest and oldest row, only
 * if all of it was understood, and only if its ids are those of the stored trades. Nothing here talks to a server.
 *
 * @module
 */

import { isoMicros } from "../core/time.ts";
import { intersect, type Run, subtract } from "../core/id_ranges.ts";

/** A trade's id and when it was made, in µs since the epoch. */
export interface TradeMark {
  id: number;
  time: number;
}

/** The feed and REST tell of one trade in one moment; they may round it differently. */
const sameTradeMicros = 1e6;
/** So much later than the newest stored trade isn't a clock's fault. */
const laterMicros = 60e6;

/**
 * The ids of which an answer is the whole truth: from its oldest to its newest row. What lies outside it may be newer than
 * REST, on another page, or cut off.
 *
 * @param rows newest first, of an answer that was understood
 */
export function spanOf(rows: readonly TradeMark[]): Run | undefined {
  const [newest] = rows;
  const oldest = rows.at(-1);
  return newest && oldest && { first: oldest.id, last: newest.id };
}

/** What became of ids that REST was asked for. */
export interface Evidence {
  /** REST doesn't have them: it lists older and newer trades around them. */
  absent: Run[];
  /** REST said nothing about them. */
  unproven: Run[];
}

/**
 * Weighs the answers to one round of requests.
 *
 * @param requested the missing ids that the requests were for
 * @param served those that REST has
 * @param spans of each answer, see `spanOf`
 */
export function weigh(requested: readonly Run[], served: readonly Run[], spans: readonly Run[]): Evidence {
  const missing = subtract(requested, served);
  const absent = intersect(missing, spans);
  return { absent, unproven: subtract(missing, absent) };
}

/**
 * Why the ids of an answer aren't those of the stored trades, if so: the exchange lists another trade under a stored id,
 * or its newest id is below a stored one and yet was traded later. Its ids begin again, or the answer is for another
 * product; either way none of it is an answer to what is missing.
 *
 * @param rows newest first; all of them, if they end below a stored id, are the newest that REST has there
 * @param stored some stored trades that the answer should list
 */
export function contradiction(rows: readonly TradeMark[], stored: readonly TradeMark[]): string | undefined {
  const byId = new Map(rows.map((row) => [row.id, row]));
  const [newest] = rows;
  for (const known of stored) {
    const row = byId.get(known.id);
    if (row !== undefined && Math.abs(row.time - known.time) > sameTradeMicros) {
      return `REST lists a trade of ${
        isoMicros(row.time)
      } under the id ${known.id}, and the stored one is of ` +
        `${isoMicros(known.time)}: the product's ids have begun again, or these are another product's`;
    }
    if (newest !== undefined && newest.id < known.id && newest.time > known.time + laterMicros) {
      return `REST's newest id is ${newest.id}, of ${isoMicros(newest.time)}, and ${known.id}, of ` +
        `${isoMicros(known.time)}, is stored: the product's ids have begun again`;
    }
  }
  return undefined;
}
