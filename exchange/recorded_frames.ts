/**
 * Reading a recording for the replayed exchange: its frames, products and trades.
 *
 * @module
 */

import { parseMicros } from "../lib/core/time.ts";
import { readRecording, RecordingError } from "../lib/recording/recording.ts";
import { type ProductRow, productRow, products as knownProducts } from "./products.ts";
import type { Channel, Trade } from "./source.ts";

/** A frame of the recording. */
export interface Recorded {
  channel: Channel;
  product: string;
  type: string;
  raw: string;
  /** Of a match, else 0. */
  tradeId: number;
  /** When it is due: the largest time so far in the file (µs); never smaller than that of the frame before. */
  due: number;
}

/** What a product's recording spans. */
export interface Span {
  /** The trades of loop 0, by number. */
  trades: Trade[];
  firstTrade: number;
  /** sequence grows by this in a loop. */
  sequences: number;
  row: ProductRow;
}

/** A recording in memory. */
export interface RecordedMarket {
  /** The file, for messages. */
  path: string;
  frames: Recorded[];
  /** By product. */
  spans: Map<string, Span>;
  /** The smallest time of its frames (µs). */
  begin: number;
  /** How long a loop lasts (µs). */
  length: number;
}

/** Reads a recording. @throws {RecordingError} as `createReplay` says */
export async function load(path: string): Promise<RecordedMarket> {
  const frames: Recorded[] = [];
  const trades = new Map<string, Trade[]>();
  const sequences = new Map<string, { first: number; last: number }>();
  let begin = Infinity;
  let end = -Infinity;
  for await (const { line, raw, message } of readRecording(path)) {
    const where = `${path}:${line}`;
    const channel = channelOf[message.type];
    if (channel === undefined) continue;
    const product = channel === "status" ? "" : text(message, "product_id", where);
    if (channel !== "status" && !trades.has(product)) trades.set(product, []);
    let due = end;
    // A last_match tells of a trade from before, perhaps long before.
    if ("time" in message && message.type !== "last_match") {
      const time = timeOf(text(message, "time", where), where);
      begin = Math.min(begin, time);
      due = end = Math.max(end, time);
    }
    if (typeof message.sequence === "number") {
      const { first = message.sequence, last = message.sequence } = sequences.get(product) ?? {};
      sequences.set(product, {
        first: Math.min(first, message.sequence),
        last: Math.max(last, message.sequence),
      });
    }
    let tradeId = 0;
    if (message.type === "match") {
      tradeId = wholeNumber(message, "trade_id", where);
      const list = trades.get(product) ?? [];
      const expected = list[0] ? list[0].trade_id + list.length : tradeId;
      if (tradeId !== expected) {
        throw new RecordingError(
          `${where}: ${product} trade ${tradeId} where ${expected} was expected: a recording with missing, ` +
            "repeated or reordered trades can't be looped without gaps",
        );
      }
      list.push({
        trade_id: tradeId,
        side: text(message, "side", where),
        size: text(message, "size", where),
        price: text(message, "price", where),
        time: text(message, "time", where),
      });
    }
    frames.push({ channel, product, type: message.type, raw, tradeId, due });
  }
  if (begin === Infinity) {
    throw new RecordingError(
      `${path} has no frame with a time: expected matches, heartbeats, book updates …`,
    );
  }
  // Frames before the first time are due at once.
  for (const frame of frames) {
    if (frame.due !== -Infinity) break;
    frame.due = begin;
  }
  // Whole seconds, so that heartbeats stay on the second; and more than the span, so that times grow.
  const length = (Math.floor((end - begin) / 1e6) + 1) * 1e6;
  const spans = new Map([...trades].map(([product, list]): [string, Span] => {
    const { first = 0, last = 0 } = sequences.get(product) ?? {};
    return [product, {
      trades: list,
      firstTrade: list[0]?.trade_id ?? 1,
      sequences: last - first + 1,
      row: describe(product, list),
    }];
  }));
  return { path, frames, spans, begin, length };
}

/** A product that isn't known is described by the digits of its trades. */
function describe(product: string, trades: Trade[]): ProductRow {
  const known = knownProducts.find(({ id }) => id === product);
  if (known) return productRow(product, known.priceDigits, known.sizeDigits);
  const digits = (texts: string[]) => Math.max(0, ...texts.map((text) => text.split(".")[1]?.length ?? 0));
  return productRow(
    product,
    digits(trades.map(({ price }) => price)),
    digits(trades.map(({ size }) => size)),
  );
}

function timeOf(text: string, where: string): number {
  try {
    return parseMicros(text);
  } catch (error) {
    throw new RecordingError(`${where}: ${error instanceof Error ? error.message : error}`);
  }
}

function text(message: Record<string, unknown>, name: string, where: string): string {
  const value = message[name];
  if (typeof value === "string") return value;
  throw new RecordingError(`${where}: expected "${name}" to be a string: ${JSON.stringify(value)}`);
}

function wholeNumber(message: Record<string, unknown>, name: string, where: string): number {
  const value = message[name];
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw new RecordingError(`${where}: expected "${name}" to be a whole number: ${JSON.stringify(value)}`);
}

const channelOf: Record<string, Channel> = {
  match: "matches",
  last_match: "matches",
  ticker: "ticker",
  heartbeat: "heartbeat",
  snapshot: "level2_batch",
  l2update: "level2_batch",
  status: "status",
};
