/**
 * Counting once, the rules (docs/decisions.md tells why):
 *
 * | step | committed offset and metadata | if the process dies after it |
 * |---|---|---|
 * | 1. fix the batch | a, `{"inflight":[a,b]}` | a…b is read and inserted again: the token of the first try makes it count once |
 * | 2. insert a…b, one block a table, with the token | unchanged | the same |
 * | 3. commit | b+1, empty | b+1 is the next message |
 *
 * Nothing here talks to a server.
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
  /** The next offset to read; -1 when the group never committed. */
  offset: number;
  /** The batch that may or may not have landed. */
  inflight?: OffsetRange;
}

/** The metadata of step 1. */
export function inflightMetadata({ first, last }: OffsetRange): string {
  return JSON.stringify({ inflight: [first, last] });
}

/**
 * Reads what a group committed.
 *
 * @param offset as the broker gives it
 * @param metadata empty, or what `inflightMetadata` wrote
 * @throws {Error} when the metadata is neither: another program commits under this group's name, and to guess could
 *   count a batch twice
 */
export function parseCommitted(offset: string, metadata: string | null): Committed {
  if (!metadata) return { offset: Number(offset) };
  let inflight: unknown;
  try {
    inflight = JSON.parse(metadata)?.inflight;
  } catch {
    inflight = undefined;
  }
  if (
    !Array.isArray(inflight) || inflight.length !== 2 || !inflight.every(Number.isSafeInteger) ||
    inflight[0] > inflight[1]
  ) {
    throw new Error(
      `The commit's metadata isn't tapehouse's: ${
        JSON.stringify(metadata)
      }. Another program uses this consumer ` +
        "group; choose another KAFKA_GROUP.",
    );
  }
  return { offset: Number(offset), inflight: { first: inflight[0], last: inflight[1] } };
}

/** A batch's name, the same after a crash as before it: group, topic, partition and offsets. */
export function batchName(
  group: string,
  topic: string,
  partition: number,
  { first, last }: OffsetRange,
): string {
  return `${group}/${topic}/${partition}/${first}-${last}`;
}

/**
 * The token under which ClickHouse knows a batch's block again, in the table and in every view behind it. The group is
 * part of it: another group may read other offsets as one batch, or filter the same ones to other rows.
 */
export function deduplicationToken(table: string, batch: string): string {
  return `${table}/${batch}`;
}
