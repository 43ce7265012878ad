/**
 * What a group commits: the next offset, and in the metadata what *Counting once* needs to know of it (lib/consume/batch_protocol.ts).
 *
 * @module
 */

/** Offsets of a partition, both ends included. */
export interface OffsetRange {
  first: number;
  last: number;
}

/** What the group has committed for a partition. */
export interface Committed {
  /** The next offset to read; negative when the group has committed nothing that holds. */
  offset: number;
  /** Which log the offset belongs to. Absent when something else than consumer.ts has moved the group. */
  log?: string;
  /** When the message in front of `offset` was received, in µs: another value there, another log. */
  before?: number;
  /** The batch that may or may not have landed. */
  inflight?: OffsetRange;
  /** Rows of messages below may be stored, by whoever read them before the log had its name. */
  ask?: number;
  /** Rows of messages that were received from then on, in µs, may be gone: they are looked for before the next is read. */
  suspect?: number;
}

/** The metadata of a commit. `parseCommitted` reads it. */
export function commitMetadata({ log, before, inflight, ask, suspect }: Omit<Committed, "offset">): string {
  return JSON.stringify({
    log,
    before,
    inflight: inflight && [inflight.first, inflight.last],
    ask,
    suspect,
  });
}

/**
 * Reads what a group committed.
 *
 * @param offset as the broker gives it
 * @param metadata empty, or what `commitMetadata` wrote
 * @throws {Error} when the metadata is neither: another program commits under this group's name
 */
export function parseCommitted(offset: string, metadata: string | null): Committed {
  if (!metadata) return { offset: Number(offset) };
  let read: Record<"log" | "before" | "inflight" | "ask" | "suspect", unknown> | undefined;
  try {
    read = JSON.parse(metadata);
  } catch {
    read = undefined;
  }
  const { log, before, inflight, ask, suspect } = read ?? {};
  const isNumber = (value: unknown): value is number | undefined =>
    value === undefined || Number.isSafeInteger(value);
  if (
    typeof log !== "string" || !isNumber(before) || !isNumber(ask) || !isNumber(suspect) ||
    (inflight !== undefined && !isRange(inflight))
  ) {
    throw new Error(
      `The commit's metadata isn't tapehouse's: ${
        JSON.stringify(metadata)
      }. Another program uses this consumer ` +
        "group; choose another KAFKA_GROUP.",
    );
  }
  return {
    offset: Number(offset),
    log,
    ...(before !== undefined && { before }),
    ...(inflight !== undefined && { inflight: { first: inflight[0], last: inflight[1] } }),
    ...(ask !== undefined && { ask }),
    ...(suspect !== undefined && { suspect }),
  };
}

function isRange(value: unknown): value is [number, number] {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isSafeInteger) &&
    value[0] <= value[1];
}
