/**
 * Rows → ClickHouse so that each counts once: rules 2 and 3 of *Counting once* (docs/decisions.md). The consumer and
 * `deno task replay` write through the same code.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { countRunningInserts, isReplicated, readStartTime } from "../clickhouse/client.ts";
import { retry } from "../core/retry.ts";
import { encodeRows } from "./frames/row_values.ts";
import { deduplicationToken } from "../consume/batch_protocol.ts";
import { insertBytes } from "./insert_block.ts";
import { KnownTrades, type Persist, renumbered, type SortedTrades } from "./known_trades.ts";
import type { Repair } from "./reconcile.ts";
import { type Rows, type Table, tables } from "./rows.ts";
import { missingRows, removeDoubles } from "./stored_rows.ts";
import { type Lost, TableAgreement } from "./table_agreement.ts";
import { fragmentedRows } from "./trade_runs.ts";
import { BatchRows, type BatchToWrite, type Block, type Written } from "./batch_rows.ts";

/** What the writer tells. */
export interface BatchWriterEvents {
  /** A statement that ClickHouse didn't confirm and that is tried again after `waitMs`; may throw to give up. */
  onError: (what: string, error: unknown, waitMs: number) => void;
  /** An insert that was sent then, in ms of the monotonic clock, is confirmed. */
  onConfirmed?: (askedAt: number) => void;
  /** A product's tables disagreed, and don't any more. */
  onRepair?: (repair: Repair) => void;
  /** An insert was under way for so long that another one may have been done meanwhile; so many rows were removed. */
  onLateInsert?: (table: Table, seconds: number, removed: number) => void;
}

/** Before a write, check for a restart of ClickHouse, at most this often. */
const restartCheckMs = 5000;
/** An insert that took longer, by any clock, may have slept on its way: it is looked at once more. */
export const lateInsertMs = 60_000;

/** Writes batches. Nothing is read before the first one. */
export class BatchWriter {
  readonly #clickhouse: ClickHouseClient;
  readonly #events: BatchWriterEvents;
  readonly #trades: KnownTrades;
  readonly #agreement: TableAgreement;
  /** When each server was started, and when that was asked last (ms of the monotonic clock). */
  readonly #startedAt = new Map<string, number>();
  #startAskedAt = -Infinity;
  #restarts = 0;
  #replicated: boolean | undefined;

  /** @param compactAfter a product's rows of `trade_runs` are joined when so many were added */
  constructor(clickhouse: ClickHouseClient, events: BatchWriterEvents, compactAfter = fragmentedRows) {
    this.#clickhouse = clickhouse;
    this.#events = events;
    this.#trades = new KnownTrades(clickhouse, this.#persist, compactAfter);
    this.#agreement = new TableAgreement(clickhouse, (repair) => {
      events.onRepair?.(repair);
      this.#trades.invalidate(repair.product);
    });
  }

  /** Grows when ClickHouse has been started anew: what it had confirmed may be gone. */
  get restarts(): number {
    return this.#restarts;
  }

  /** What is known of stored trades may have changed: it is loaded again when it is needed. */
  invalidate(): void {
    this.#agreement.distrust();
    this.#trades.clear();
    // Whoever had the partitions meanwhile may have seen a restart that we didn't.
    this.#startAskedAt = -Infinity;
  }

  /**
   * Writes a batch, one block a table, and tries until ClickHouse confirms. Writing it again changes nothing.
   *
   * @param given the rows of one partition's messages, a trade's row without its batch
   * @throws the last error once the signal aborts
   */
  async write(given: BatchRows | Rows, batch: BatchToWrite): Promise<Written> {
    const rows = given instanceof BatchRows ? given : BatchRows.of(given);
    const { name, mayBeStored, signal } = batch;
    if (performance.now() - this.#startAskedAt > restartCheckMs) {
      await this.#persist("asking for the start time", () => this.#lookForRestart(), signal);
    }
    const found: Lost = {};
    if (rows.trades.length > 0) {
      const waitForEarlier = () => this.#waitForEarlier("trades", batch);
      const makeAgree = () => this.#agreement.makeAgree(rows.trades, batch, found, waitForEarlier);
      await this.#persist("comparing tables", makeAgree, signal);
    }
    const { fresh, reused } = rows.trades.length === 0 || mayBeStored
      ? await this.#trades.sortAgain(rows.trades, signal)
      : await this.#trades.sort(rows.trades, signal);
    const rejected = reused.map((trade) => renumbered(rows.tradeRow(trade), batch.topic ?? ""));
    const blocks = tables.map((table) =>
      table === "trades"
        ? rows.tradeBlock(fresh, name)
        : rows.block(table, table === "rejected" ? rejected : [])
    ).filter(({ count }) => count > 0);
    const missing = await Promise.all(blocks.map((block) => this.#insert(block, batch, found)));
    if (mayBeStored) this.#trades.noteStored(fresh);
    await this.#trades.compactNowAndThen(fresh, signal);
    return writtenOf(rows, { fresh, reused }, mayBeStored, found, blocks, missing);
  }

  readonly #persist: Persist = (what, attempt, signal) =>
    retry(attempt, {
      signal,
      onError: (error, waitMs) => {
        if (!signal.aborted) this.#events.onError(what, error, waitMs);
      },
    });

  /** Was it ClickHouse that ended meanwhile? Its tables may disagree then, and confirmed rows may be gone. */
  async #lookForRestart(): Promise<void> {
    const { host, at } = await readStartTime(this.#clickhouse);
    const before = this.#startedAt.get(host);
    this.#startedAt.set(host, at);
    this.#startAskedAt = performance.now();
    if (before === undefined || at <= before + 2) return;
    this.#restarts++;
    this.invalidate();
  }

  /** An earlier try may still be executed, be it a dead process's: nothing is compared before it has ended. */
  async #waitForEarlier(table: Table, batch: BatchToWrite): Promise<void> {
    const token = deduplicationToken(table, partitionOf(batch.name));
    const running = await countRunningInserts(this.#clickhouse, token);
    if (running > 0) throw new Error(`ClickHouse still executes an earlier insert into ${table}`);
  }

  /** Inserts what isn't stored until all of it is. Returns how many rows were missing when ClickHouse was first asked. */
  async #insert(block: Block, batch: BatchToWrite, found: Lost): Promise<number> {
    const { table } = block;
    const { name, signal } = batch;
    const progress: InsertProgress = {
      ask: batch.mayBeStored,
      again: 0,
      tries: 0,
      longestMs: 0,
      missing: undefined,
    };
    const attempt = () => this.#tryInsert(block, batch, progress);
    await this.#persist(`${table}/${name}`, attempt, signal).catch((error) => {
      this.#agreement.distrust();
      throw error;
    });
    const { tries, longestMs, missing } = progress;
    if (longestMs > lateInsertMs) {
      const takeBack = () => this.#takeBack(block, batch, longestMs, found);
      await this.#persist(`doubles of ${table}`, takeBack, signal);
    }
    // Of a batch that is there as it was committed nothing was torn. Nor was what was stored at once under a name that
    // nobody has used; what makeAgree has compared may be torn by an insert since, if another has the name too.
    const isWhole = tries === 1 &&
      (missing === 0 && batch.isCommitted === true ||
        batch.isNewName === true && (table === "trades" || missing === block.count));
    if (missing !== undefined && !isWhole) {
      const agree = () => this.#agreement.withViews(block, batch, found);
      await this.#persist(`${table}'s views`, agree, signal);
    }
    return missing ?? block.count;
  }

  async #tryInsert(
    block: Block,
    batch: BatchToWrite,
    progress: InsertProgress,
  ): Promise<void> {
    progress.tries++;
    const { table } = block;
    const { ask } = progress;
    if (ask) {
      await this.#lookForRestart();
      await this.#waitForEarlier(table, batch);
    }
    const rest = ask ? await missingRows(this.#clickhouse, table, block.values()) : undefined;
    if (rest !== undefined) progress.missing ??= rest.length;
    // Any further try may find what this one stores.
    progress.ask = true;
    if (rest?.length === 0) return;
    await batch.assertOwned?.();
    batch.signal.throwIfAborted();
    const begun = clocks();
    const askedAt = performance.now();
    const token = deduplicationToken(table, batch.name, progress.again);
    const bytes = rest === undefined ? block.bytes : encodeRows(table, rest).bytes;
    await insertBytes(this.#clickhouse, table, bytes, token, batch.signal);
    progress.longestMs = Math.max(progress.longestMs, begun());
    this.#events.onConfirmed?.(askedAt);
    // Products are only ever inserted, never asked for: merges keep one row of each.
    if (rest === undefined || table === "products_state") return;
    const left = (await missingRows(this.#clickhouse, table, rest)).length;
    if (left === 0) return;
    // A single server that lost power may remember a block that it doesn't have any more.
    if (!await this.#isReplicated()) progress.again++;
    throw new Error(`ClickHouse has confirmed ${rest.length} rows of ${table} and lacks ${left} of them`);
  }

  /** The insert slept on its way: what another consumer stored meanwhile stays, ours goes. */
  async #takeBack(
    block: Block,
    batch: BatchToWrite,
    tookMs: number,
    found: Lost,
  ): Promise<void> {
    const { table } = block;
    const isReplicated = await this.#isReplicated();
    const removed = isReplicated ? 0 : await removeDoubles(this.#clickhouse, table, block.values());
    this.#events.onLateInsert?.(table, tookMs / 1000, removed);
    // Also where nothing was removed now: an attempt before may have done just that, and not this.
    if (table === "trades") await this.#agreement.withViews(block, batch, found);
  }

  async #isReplicated(): Promise<boolean> {
    return this.#replicated ??= await isReplicated(this.#clickhouse);
  }
}

/** How far the inserting of a block is. */
interface InsertProgress {
  /** Some of it may be stored: ClickHouse is asked first. */
  ask: boolean;
  /** How often ClickHouse has confirmed the block and then didn't have it. */
  again: number;
  tries: number;
  /** The longest try. */
  longestMs: number;
  /** Rows that were missing when ClickHouse was first asked; undefined when it wasn't. */
  missing: number | undefined;
}

/** @param missing of each block: the rows that weren't stored before */
function writtenOf(
  { trades }: BatchRows,
  { fresh, reused }: SortedTrades,
  mayBeStored: boolean,
  found: Lost,
  blocks: readonly Block[],
  missing: readonly number[],
): Written {
  const counts = blocks.map(({ table, count }, at): [Table, number] => [
    table,
    mayBeStored ? missing[at] ?? 0 : count,
  ]);
  const stored = mayBeStored ? counts.find(([table]) => table === "trades")?.[1] ?? 0 : fresh.length;
  const isCounted = (table: Table) => mayBeStored && table !== "products_state";
  return {
    rows: Object.fromEntries(counts.filter(([, count]) => count > 0)),
    reusedNumbers: reused.length,
    repeatedTrades: trades.length - reused.length - stored,
    missing: counts.reduce((sum, [table, count]) => sum + (isCounted(table) ? count : 0), 0),
    ...(found.since !== undefined && { lostSince: found.since }),
  };
}

/** What the names of a partition's batches have in common: all in front of the log and the offsets. */
function partitionOf(name: string): string {
  return /^.+\/(?=[^/]*\/[^/]*$)/.exec(name)?.[0] ?? name;
}

/** Starts two clocks; asked, it says in ms how long ago that was by the one that has gone further. */
function clocks(): () => number {
  const [steady, wall] = [performance.now(), Date.now()];
  return () => Math.max(performance.now() - steady, Date.now() - wall);
}
