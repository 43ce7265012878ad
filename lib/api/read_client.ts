/**
 * ClickHouse, as the API asks it: reading only, within limits, given up when the client goes away.
 *
 * @module
 */

import type { ClickHouseClient, ClickHouseSettings } from "@clickhouse/client";
import { addAbortSignal, Readable } from "node:stream";
import { type ClickHouseConfig, openClickHouse } from "../clickhouse/client.ts";
import { sleep, unlessAborted } from "../core/retry.ts";
import {
  type Asker,
  createLanes,
  downloads,
  forEverybody,
  type Lane,
  loadOf,
  type QueryListener,
  takePlace,
} from "./lanes.ts";
import { toProblem } from "./query_problem.ts";
import { querySettings } from "./query_settings.ts";

/** Values of `{name:Type}`; ClickHouse puts them into the statement. */
export type Parameters = Record<string, string | number | string[]>;

/** Answers questions. */
export interface ReadClient {
  /**
   * The answer as text, in the format that the statement names.
   *
   * @param asker the service itself when absent
   * @throws {Problem} when ClickHouse can't be asked, a limit is passed or there is no place
   */
  text(statement: string, parameters?: Parameters, asker?: Asker): Promise<string>;
  /** The answer as objects. */
  rows<T>(statement: string, parameters?: Parameters, asker?: Asker): Promise<T[]>;
  /** The answer as bytes, at the reader's pace. Its query is over and went well when the first byte comes. */
  stream(statement: string, parameters: Parameters, asker: Asker): Promise<ReadableStream<Uint8Array>>;
  /** What runs and waits now. */
  load(): Record<Lane, { running: number; waiting: number }>;
  close(): Promise<void>;
}

/** Who takes no byte of a download for so long is cut off. */
const stalledMs = 60_000;
/** To end a query may take so long, and is tried again after so long. */
const killMs = 5000;
const killAgainMs = 200;

/**
 * @param querySeconds the time a query may take
 * @param queries how many of clients may run at once; one client has half of them
 */
export function openReadClient(
  config: ClickHouseConfig,
  querySeconds: number,
  queries = 6,
  listener: QueryListener = {},
): ReadClient {
  const lanes = createLanes(queries, listener);
  // A query never waits for a connection: a place is what it waits for, before its time begins to run.
  const client = openClickHouse(config, 60_000, 4 * queries + downloads.places + 20);

  /**
   * Runs a statement in a place and hands its answer to `read`. The place is free again when the query is over, not
   * when its client has gone: who asks and leaves again and again would have any number of them otherwise.
   */
  async function run<T>(
    statement: Statement,
    asker: Asker,
    more: ClickHouseSettings,
    read: (answer: Readable) => Promise<T>,
  ): Promise<T> {
    const { signal, lane } = asker;
    const release = await takePlace(lanes.queries[lane], asker.client, signal);
    asker.started = true;
    const settings = { ...querySettings(lane, querySeconds), ...more };
    const { answer, end } = send(client, statement, settings, (querySeconds + 2) * 1000, read);
    let ending: Promise<void> | undefined;
    try {
      return await (signal ? unlessAborted(answer, signal) : answer);
    } catch (error) {
      if (signal?.aborted) ending = end();
      signal?.throwIfAborted();
      throw toProblem(error, querySeconds);
    } finally {
      if (ending === undefined) release();
      else ending.finally(release);
    }
  }

  const clickhouse: ReadClient = {
    text: (text, parameters = {}, asker = { ...forEverybody }) =>
      run({ text, parameters }, asker, {}, async (answer) => new TextDecoder().decode(await drain(answer))),
    async rows<T>(statement: string, parameters?: Parameters, asker?: Asker): Promise<T[]> {
      const text = await clickhouse.text(`${statement} FORMAT JSONEachRow`, parameters, asker);
      return text.split("\n").filter(Boolean).map((line): T => JSON.parse(line));
    },
    async stream(text, parameters, asker) {
      const leave = await takePlace(lanes.downloads, asker.client);
      try {
        // The whole answer waits in ClickHouse (on its disk where it is large): an error in the middle is still a
        // status, and a reader who takes his time holds no query.
        const wait = { wait_end_of_query: 1 } as const;
        const answer = await run({ text, parameters }, asker, wait, (answer) => Promise.resolve(answer));
        answer.once("close", leave);
        return paced(answer);
      } catch (error) {
        leave();
        throw error;
      }
    },
    load: () => loadOf(lanes),
    async close() {
      await client.close();
    },
  };
  return clickhouse;
}

interface Statement {
  text: string;
  parameters: Parameters;
}

/**
 * Sends a statement, with a name by which it is found again.
 *
 * @param deadlineMs ClickHouse ends a query at its limit; where it doesn't answer at all, nobody waits for longer than this
 * @returns `end` for when its client has gone; waits until the query is over
 */
function send<T>(
  clickhouse: ClickHouseClient,
  { text, parameters }: Statement,
  settings: ClickHouseSettings,
  deadlineMs: number,
  read: (answer: Readable) => Promise<T>,
): { answer: Promise<T>; end: () => Promise<void> } {
  // By its comment: embedded, the server gives a query an id that nobody knows.
  const name = `tapehouse api ${crypto.randomUUID()}`;
  const connection = new AbortController();
  const deadline = setTimeout(() => connection.abort(), deadlineMs);
  const answer = clickhouse.exec({
    query: text,
    query_params: parameters,
    abort_signal: connection.signal,
    clickhouse_settings: { ...settings, log_comment: name },
    // The client forgets the signal once an answer has begun: one that stalls would hold its place for ever.
  }).then(({ stream }) => read(addAbortSignal(connection.signal, stream)))
    .finally(() => clearTimeout(deadline));
  return { answer, end: () => endQuery(clickhouse, name, answer, connection) };
}

/**
 * Ends a query whose client has gone, and waits until it is over. A closed connection does that only where the server
 * looks at it: the embedded one and a proxy in between don't. It is asked again, for a query may not have begun yet.
 */
async function endQuery(
  clickhouse: ClickHouseClient,
  name: string,
  answer: Promise<unknown>,
  connection: AbortController,
): Promise<void> {
  let isOver = false;
  const over = answer.catch(() => {}).then((unread) => {
    isOver = true;
    if (unread instanceof Readable) unread.destroy();
  });
  while (!isOver) {
    try {
      const { stream } = await clickhouse.exec({
        query: `KILL QUERY WHERE Settings['log_comment'] = '${name}' ASYNC`,
        abort_signal: AbortSignal.timeout(killMs),
      });
      await drain(stream);
    } catch {
      // It may not be allowed: then the closed connection is what there is.
      connection.abort();
    }
    const again = new AbortController();
    await Promise.race([over, sleep(killAgainMs, again.signal)]);
    again.abort();
  }
}

/** Bytes for a reader who goes on reading. */
function paced(answer: Readable): ReadableStream<Uint8Array> {
  let timer = setTimeout(cut, stalledMs);
  function cut() {
    answer.destroy(new Error(`nothing was read for ${stalledMs / 1000} s`));
  }
  answer.on("data", () => {
    clearTimeout(timer);
    timer = setTimeout(cut, stalledMs);
  }).pause();
  answer.once("close", () => clearTimeout(timer));
  return Readable.toWeb(answer) as ReadableStream<Uint8Array>;
}

async function drain(answer: Readable): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of answer) chunks.push(chunk);
  return joined(chunks);
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1 && chunks[0]) return chunks[0];
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
