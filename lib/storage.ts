/**
 * Rows → ClickHouse so that each counts once: rules 2 and 3 of *Counting once* (docs/decisions.md). The consumer and
 * `deno task replay` write through the same code.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { retry } from "./backoff.ts";
import { deduplicationToken } from "./batch.ts";
import { type Row, type Rows, type Table, tables, tradeKey } from "./rows.ts";
import {
  joinStoredTrades,
  loadStoredTrades,
  newTrades,
  scatteredRows,
  type StoredTrades,
} from "./trade_runs.ts";
import { insertBlock } from "./warehouse.ts";

/** What a batch became. */
export interface Written {
  /** Rows that ClickHouse has confirmed, by table; tables without rows are absent. */
  rows: Partial<Record<Table, number>>;
  /** Trades that were stored already and were not inserted again. */
  repeatedTrades: number;
}

/** Writes batches. */
export interface Storage {
  /**
   * Writes a batch, one block a table, and tries until ClickHouse confirms. Writing it again under the same name changes
   * nothing.
   *
   * @param batch its name, the same after a crash as before it
   * @param assertOurs is asked before each try to write whether the batch is still ours
   * @throws the last error once `stillOurs` aborts: the batch isn't ours any more, or the process stops
   */
  write(
    rows: Rows,
    batch: string,
    stillOurs: AbortSignal,
    assertOurs?: () => Promise<void>,
  ): Promise<Written>;
  /** What is known of stored trades may have changed: it is loaded again when it is needed. */
  forget(): void;
}

/**
 * Opens the storage; nothing is read before the first batch.
 *
 * @param options.onError told of each statement that ClickHouse didn't confirm and that is tried again after `waitMs`;
 *   may throw to give up
 */
export function openStorage(
  warehouse: ClickHouseClient,
  options: { onError: (what: string, error: unknown, waitMs: number) => void },
): Storage {
  // Known for the products that were written, and only until `forget`.
  let stored: StoredTrades = new Map();
  /** Rows of `trade_runs` that we added since a product's were loaded or joined. */
  let added = new Map<string, number>();

  function persist<T>(what: string, attempt: () => Promise<T>, stillOurs: AbortSignal): Promise<T> {
    return retry(attempt, {
      signal: stillOurs,
      onError(error, waitMs) {
        if (!stillOurs.aborted) options.onError(what, error, waitMs);
      },
    });
  }

  /** The trades that are not stored yet, each with its batch's name. */
  async function onlyNewTrades(rows: Row[], batch: string, stillOurs: AbortSignal): Promise<Row[]> {
    const known = stored;
    const unknown = [...new Set(rows.map((row) => tradeKey(row).productId))].filter((id) => !known.has(id));
    if (unknown.length > 0) {
      const load = () => loadStoredTrades(warehouse, unknown, batch);
      const loaded = await persist("reading trade_runs", load, stillOurs);
      for (const [id, ids] of loaded.stored) {
        // Another partition's batch may have loaded the product meanwhile, and added to it.
        if (!known.has(id)) known.set(id, ids);
      }
      for (const id of loaded.scattered) {
        await persist("joining trade_runs", () => joinStoredTrades(warehouse, id, batch), stillOurs);
      }
    }
    return newTrades(rows, known).map((row) => [...row, batch]);
  }

  /** A consumer that runs for months adds a run a batch; now and then they are joined, this batch's left out. */
  async function joinNowAndThen(trades: Row[], batch: string, stillOurs: AbortSignal): Promise<void> {
    for (const id of new Set(trades.map((row) => tradeKey(row).productId))) {
      const rows = (added.get(id) ?? 0) + 1;
      added.set(id, rows < scatteredRows ? rows : 0);
      if (rows < scatteredRows) continue;
      await persist("joining trade_runs", () => joinStoredTrades(warehouse, id, batch), stillOurs);
    }
  }

  return {
    async write(rows, batch, stillOurs, assertOurs) {
      const trades = rows.trades.length === 0 ? [] : await onlyNewTrades(rows.trades, batch, stillOurs);
      const blocks: Rows = { ...rows, trades };
      const filled = tables.filter((table) => blocks[table].length > 0);
      await Promise.all(filled.map((table) => {
        const token = deduplicationToken(table, batch);
        const insert = async () => {
          await assertOurs?.();
          stillOurs.throwIfAborted();
          await insertBlock(warehouse, table, blocks[table], token, stillOurs);
        };
        return persist(token, insert, stillOurs);
      }));
      await joinNowAndThen(trades, batch, stillOurs);
      return {
        rows: Object.fromEntries(filled.map((table) => [table, blocks[table].length])),
        repeatedTrades: rows.trades.length - trades.length,
      };
    },
    forget() {
      stored = new Map();
      added = new Map();
    },
  };
}
