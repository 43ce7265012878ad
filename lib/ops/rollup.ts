/**
 * Filling what no materialized view can: `book_depth_1s`, second by second from the order book, and the anomalies, each
 * stored once. rollup.ts runs it; everything here may be interrupted at any statement and begun again.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { rows } from "../clickhouse/rows.ts";
import { formatMicros } from "../core/time.ts";

/** A span of time, µs since the epoch; `to` isn't part of it. */
export interface Span {
  from: number;
  to: number;
}

/** A row of the view `anomalies_live`. Times as ClickHouse writes them: `2026-07-07 22:58:17.123456`, UTC. */
export interface Anomaly {
  product_id: string;
  kind: string;
  severity: "info" | "warning" | "critical";
  time: string;
  /** Null while it goes on. */
  end_time: string | null;
  value: number;
  threshold: number;
  score: number;
  explanation: string;
}

/** A row of the table `anomalies_state`. */
export interface StoredAnomaly extends Anomaly {
  detected_at: string;
  is_withdrawn: boolean;
}

/** How far back a run looks by itself, when it never ran, was away for longer, or a gap was filled. */
export const reachMicros = 86_400e6;
/** Rows that come later than this after their time are looked at only when they fill a gap. */
const lateMicros = 600e6;
/** So much of the tape is searched for anomalies by one query. */
const searchMicros = 6 * 3600e6;
const minute = 60e6;

/**
 * The minutes (their starts, µs) of a span in which a book is known at least for a moment.
 *
 * @param epochs when it is known; both ends included
 */
export function minutesOf(epochs: readonly Span[], span: Span): number[] {
  const minutes = new Set<number>();
  for (const { from, to } of epochs) {
    const last = Math.min(to, span.to - 1);
    for (let start = wholeMinute(Math.max(from, span.from)); start <= last; start += minute) {
      if (start >= span.from) minutes.add(start);
    }
  }
  return [...minutes].sort((left, right) => left - right);
}

/** The start of the minute in which a moment lies. */
function wholeMinute(micros: number): number {
  return Math.floor(micros / minute) * minute;
}

/**
 * Which minutes of a book are to be filled, given that its newest filled second is `filled`: those since, up to the minute
 * that is over and stored, at most a day back.
 *
 * @param filled undefined when there is none
 * @param stored the book's newest stored change
 */
export function depthSpan(filled: number | undefined, stored: number, now: number): Span {
  const to = wholeMinute(Math.min(stored, now));
  const since = filled === undefined ? 0 : wholeMinute(filled) + minute;
  return { from: Math.max(since, wholeMinute(now - reachMicros)), to };
}

/**
 * What is to be searched for anomalies: from a while before the last look, or from where a gap was filled since.
 *
 * @param checked up to where the last look went; undefined when there was none
 * @param filledFrom the oldest trade that came from REST since then
 */
export function searchSpan(checked: number | undefined, filledFrom: number | undefined, now: number): Span {
  const since = Math.min((checked ?? 0) - lateMicros, filledFrom ?? Infinity);
  return { from: wholeMinute(Math.max(since, now - reachMicros)), to: now };
}

/** Cuts a span into pieces of at most `length` µs. */
export function piecesOf({ from, to }: Span, length: number): Span[] {
  const pieces: Span[] = [];
  for (let start = from; start < to; start += length) {
    pieces.push({ from: start, to: Math.min(start + length, to) });
  }
  return pieces;
}

/**
 * The rows to be stored so that what is stored says what was found: new ones, changed ones, and, as withdrawn, those that
 * weren't found again.
 *
 * @param found all anomalies of a product that touch a span
 * @param stored all stored rows of the product that touch it, withdrawn ones too
 * @param now for `detected_at` of new ones
 */
export function changesOf(
  found: readonly Anomaly[],
  stored: readonly StoredAnomaly[],
  now: string,
): StoredAnomaly[] {
  const key = ({ kind, time }: Anomaly) => `${kind} ${time}`;
  const before = new Map(stored.map((row) => [key(row), row]));
  const keys = new Set(found.map(key));
  const changed = found.flatMap((row) => {
    const known = before.get(key(row));
    if (known !== undefined && !known.is_withdrawn && isSame(row, known)) return [];
    return [{ ...row, detected_at: known?.detected_at ?? now, is_withdrawn: false }];
  });
  const vanished = stored.filter((row) => !row.is_withdrawn && !keys.has(key(row)));
  return [...changed, ...vanished.map((row) => ({ ...row, is_withdrawn: true }))];
}

/** Sums of floats may differ in the last digit from one computation to the next. */
function isSame(left: Anomaly, right: Anomaly): boolean {
  const near = (a: number, b: number) => Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a));
  return left.end_time === right.end_time && left.severity === right.severity &&
    near(left.value, right.value) && near(left.threshold, right.threshold) && near(left.score, right.score);
}

/** How `rollUp` works. */
export interface RollupOptions {
  /** Fill and search this too, again; anomalies from its start until now. Without it, what is due. */
  again?: Span;
  /** µs since the epoch. */
  now: number;
  /** Stops between two statements. */
  signal: AbortSignal;
  /** So many minutes of a product's book are filled at most. @default {Infinity} */
  minutes?: number;
  /** Runs each statement: the caller tries again, waits in between, counts. */
  run<T>(what: string, statement: () => Promise<T>): Promise<T>;
  /** Told before each minute of a product's book. */
  onProgress?(progress: RollupProgress): void;
}

/** How far a run is. */
export interface RollupProgress {
  product: string;
  /** Of the minutes that are due of this product's book … */
  minutes: number;
  /** … so many are filled. */
  done: number;
}

/** What a run did. */
export interface RollupTotals {
  products: number;
  /** Minutes of books that were filled. */
  minutes: number;
  /** Minutes that are due and were left for the next run. */
  left: number;
  /** Rows of `anomalies_state` that were written. */
  changes: StoredAnomaly[];
}

/**
 * Fills the minutes of `book_depth_1s` that are due and stores the anomalies found since the last look, product by product.
 * Run again it changes nothing that is the same.
 */
export async function rollUp(clickhouse: ClickHouseClient, options: RollupOptions): Promise<RollupTotals> {
  const { signal, run, now } = options;
  const totals: RollupTotals = { products: 0, minutes: 0, left: 0, changes: [] };
  const thresholds = await run("reading the thresholds", () => readThresholds(clickhouse));
  for (const product of await run("reading the products", () => readProducts(clickhouse))) {
    signal.throwIfAborted();
    const unfilled = await run("reading how far book_depth_1s is filled", async () => {
      const { filled, stored } = await readDepthEnds(clickhouse, product);
      return depthSpan(filled, stored, now);
    });
    // What isn't over yet is left for later, also by those who fill again.
    const span = options.again
      // Nothing that is due may lie behind what is filled now: the next run goes on from the newest second.
      ? {
        from: Math.min(wholeMinute(options.again.from), unfilled.from),
        to: Math.min(options.again.to, unfilled.to),
      }
      : unfilled;
    const epochs = await run("reading book_epochs", () => readEpochs(clickhouse, product, span));
    const minutes = minutesOf(epochs, span);
    const taken = minutes.slice(0, options.minutes ?? Infinity);
    totals.left += minutes.length - taken.length;
    for (const [done, start] of taken.entries()) {
      options.onProgress?.({ product, minutes: minutes.length, done });
      signal.throwIfAborted();
      await run("filling book_depth_1s", () => fillDepth(clickhouse, product, start));
      totals.minutes++;
    }
    signal.throwIfAborted();
    const search = await run("reading anomalies_checked", async () => {
      const { checked, filledFrom } = await readChecked(clickhouse, product);
      const usual = searchSpan(checked, filledFrom, now);
      return { from: Math.min(wholeMinute(options.again?.from ?? Infinity), usual.from), to: now };
    });
    // What a later piece says about an anomaly is newer: it saw how it went on.
    const found = new Map<string, Anomaly>();
    for (const piece of piecesOf(search, searchMicros)) {
      signal.throwIfAborted();
      const seen = await run(
        "searching anomalies",
        () => findAnomalies(clickhouse, product, piece, thresholds),
      );
      for (const row of seen) found.set(`${row.kind} ${row.time}`, row);
    }
    const changes = await run("storing anomalies", async () => {
      const stored = await readStored(clickhouse, product, search.from);
      const rows = changesOf([...found.values()], stored, formatMicros(now));
      if (rows.length > 0) {
        await clickhouse.insert({ table: "anomalies_state", values: rows, format: "JSONEachRow" });
      }
      return rows;
    });
    await run("storing how far it looked", () =>
      clickhouse.insert({
        table: "anomalies_checked",
        values: [{ product_id: product, checked_to: formatMicros(now) }],
        format: "JSONEachRow",
      }));
    totals.changes.push(...changes);
    totals.products++;
  }
  return totals;
}

async function readProducts(clickhouse: ClickHouseClient): Promise<string[]> {
  const found = await rows<{ product_id: string }>(
    clickhouse,
    "SELECT product_id FROM known_products ORDER BY product_id",
  );
  return found.map(({ product_id }) => product_id);
}

/** The newest filled second and the newest stored change of a product's book, µs. */
async function readDepthEnds(
  clickhouse: ClickHouseClient,
  product: string,
): Promise<{ filled: number | undefined; stored: number }> {
  const [filled] = await rows<{ at: number }>(
    clickhouse,
    `SELECT toUnixTimestamp64Micro(time) AS at FROM book_depth_1s_state
     WHERE product_id = {product:String} ORDER BY time DESC LIMIT 1`,
    { product },
  );
  const [stored] = await rows<{ at: number }>(
    clickhouse,
    `SELECT toUnixTimestamp64Micro(max(last_time)) AS at FROM book_connections_state
     WHERE product_id = {product:String}`,
    { product },
  );
  return { filled: filled?.at, stored: stored?.at ?? 0 };
}

function readEpochs(clickhouse: ClickHouseClient, product: string, { from, to }: Span): Promise<Span[]> {
  return rows<Span>(
    clickhouse,
    `SELECT toUnixTimestamp64Micro(valid_from) AS from, toUnixTimestamp64Micro(valid_to) AS to FROM book_epochs
     WHERE product_id = {product:String} AND valid_from < {to:DateTime64(6, 'UTC')} AND valid_to >= {from:DateTime64(6, 'UTC')}`,
    { product, from: formatMicros(from), to: formatMicros(to) },
  );
}

/** One minute is one block: it is there as a whole or not at all. */
async function fillDepth(clickhouse: ClickHouseClient, product: string, start: number): Promise<void> {
  await clickhouse.command({
    query: `INSERT INTO book_depth_1s_state (* EXCEPT computed_at)
            SELECT * FROM book_depth_1s_between(
              product = {product:String}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')})`,
    query_params: { product, from: formatMicros(start), to: formatMicros(start + minute) },
  });
}

async function readChecked(
  clickhouse: ClickHouseClient,
  product: string,
): Promise<{ checked: number | undefined; filledFrom: number | undefined }> {
  const [checked] = await rows<{ at: number }>(
    clickhouse,
    `SELECT toUnixTimestamp64Micro(checked_to) AS at FROM anomalies_checked FINAL
     WHERE product_id = {product:String}`,
    { product },
  );
  const [filled] = await rows<{ at: number; runs: number }>(
    clickhouse,
    `SELECT toUnixTimestamp64Micro(min(first_time)) AS at, count() AS runs FROM trade_runs
     WHERE product_id = {product:String} AND source = 'backfill' AND last_received_at >= {since:DateTime64(6, 'UTC')}`,
    { product, since: formatMicros(Math.max(0, (checked?.at ?? 0) - lateMicros)) },
  );
  return { checked: checked?.at, filledFrom: filled && filled.runs > 0 ? filled.at : undefined };
}

/** The usual thresholds: parameter of the view `anomalies_live` → value. */
export async function readThresholds(clickhouse: ClickHouseClient): Promise<Record<string, number>> {
  const [row = {}] = await rows<Record<string, number>>(clickhouse, "SELECT * FROM thresholds", {});
  return row;
}

/** As the view `anomalies_between` does it; asked through that, everything would be planned once more. */
function findAnomalies(
  clickhouse: ClickHouseClient,
  product: string,
  { from, to }: Span,
  thresholds: Record<string, number>,
): Promise<Anomaly[]> {
  const parameters = Object.entries(thresholds).map(([name, value]) => `${name} = ${value}`).join(", ");
  return rows<Anomaly>(
    clickhouse,
    // Most of its time goes into planning; more threads would only add to that.
    `SELECT * FROM anomalies_live(
       product = {product:String}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')}, ${parameters})
     ORDER BY time, kind
     SETTINGS max_threads = 1`,
    { product, from: formatMicros(from), to: formatMicros(to) },
  );
}

function readStored(clickhouse: ClickHouseClient, product: string, from: number): Promise<StoredAnomaly[]> {
  return rows<StoredAnomaly>(
    clickhouse,
    `SELECT * EXCEPT updated_at FROM anomalies_state FINAL
     WHERE product_id = {product:String}
       AND (time >= {from:DateTime64(6, 'UTC')} OR end_time IS NULL OR end_time >= {from:DateTime64(6, 'UTC')})`,
    { product, from: formatMicros(from) },
  );
}
