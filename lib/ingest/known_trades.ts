/**
 * Which trades are stored: rule 3 of *Counting once* (docs/decisions.md). What is known is loaded product by product from
 * `trade_runs`, and holds until `clear`.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { BatchTrade } from "./batch_rows.ts";
import { columns, type Row, rowMicros, type TradeKey, tradeKey } from "./rows.ts";
import { readTradeTimes } from "./stored_rows.ts";
import { compactTradeRuns, loadStoredTrades, newTrades, type StoredTrades } from "./trade_runs.ts";

/** So much newer than the newest stored trade, in µs, a trade is no repeat. */
const renumberedMicros = 60e6;

/** Tries until ClickHouse confirms, or the signal aborts. */
export type Persist = <T>(what: string, attempt: () => Promise<T>, signal: AbortSignal) => Promise<T>;

/** A batch's trades: those to store, and those that only bear the number of a stored one. */
export interface SortedTrades {
  fresh: BatchTrade[];
  reused: BatchTrade[];
}

/** The trades that are stored, as far as products were asked for. */
export class KnownTrades {
  readonly #clickhouse: ClickHouseClient;
  readonly #persist: Persist;
  readonly #compactAfter: number;
  #stored: StoredTrades = new Map();
  /** The time of each product's newest trade, in µs. */
  #newest = new Map<string, number>();
  /** Rows of `trade_runs` that were added since a product's were loaded or joined. */
  #added = new Map<string, number>();

  /** @param compactAfter a product's rows of `trade_runs` are joined when so many were added */
  constructor(clickhouse: ClickHouseClient, persist: Persist, compactAfter: number) {
    this.#clickhouse = clickhouse;
    this.#persist = persist;
    this.#compactAfter = compactAfter;
  }

  /** Everything is loaded again when it is needed. */
  clear(): void {
    this.#stored = new Map();
    this.#newest = new Map();
    this.#added = new Map();
  }

  /** A product is loaded again when it is needed. */
  invalidate(productId: string): void {
    this.#stored.delete(productId);
  }

  /** These are stored now, whoever did it. */
  noteStored(trades: readonly TradeKey[]): void {
    for (const { productId, tradeId } of trades) this.#stored.get(productId)?.add(tradeId);
  }

  /** The trades that are not stored yet, each once; from now on they count as stored. */
  async sort(trades: readonly BatchTrade[], signal: AbortSignal): Promise<SortedTrades> {
    const known = this.#stored;
    await this.#load(trades, known, signal);
    // What is known may be the next owner's by now, and would take these for stored.
    signal.throwIfAborted();
    const fresh = newTrades(trades, known);
    const reused = fresh.length === trades.length ? [] : this.#renumbered(trades, fresh);
    for (const { productId, micros } of fresh) this.#noteNewest(productId, micros);
    return { fresh, reused };
  }

  /** A repeat is never newer than all that was stored: an exchange that numbers a product anew says other trades. */
  #renumbered(trades: readonly BatchTrade[], fresh: readonly BatchTrade[]): BatchTrade[] {
    const freshKeys = new Set(fresh.map(keyText));
    return trades.filter((trade) =>
      !freshKeys.has(keyText(trade)) &&
      trade.micros > (this.#newest.get(trade.productId) ?? Infinity) + renumberedMicros
    );
  }

  async #load(trades: readonly TradeKey[], known: StoredTrades, signal: AbortSignal): Promise<void> {
    const unknown = [...new Set(trades.map(({ productId }) => productId))].filter((id) => !known.has(id));
    if (unknown.length === 0) return;
    const loaded = await this.#persist(
      "reading trade_runs",
      () => loadStoredTrades(this.#clickhouse, unknown),
      signal,
    );
    for (const [id, ids] of loaded.stored) {
      // Another partition's batch may have loaded the product meanwhile, and added to it.
      if (!known.has(id)) known.set(id, ids);
    }
    for (const [id, time] of loaded.newest) this.#noteNewest(id, rowMicros(time));
    for (const id of loaded.fragmented) await this.#compact(id, signal);
  }

  /** The same of a batch that may be stored: a repeat has the time of the stored trade, give or take. */
  async sortAgain(all: readonly BatchTrade[], signal: AbortSignal): Promise<SortedTrades> {
    const trades = distinctTrades(all);
    if (trades.length === 0) return { fresh: [], reused: [] };
    const times = await this.#persist(
      "reading trades",
      () => readTradeTimes(this.#clickhouse, trades),
      signal,
    );
    const isReused = (trade: TradeKey) => {
      const time = times.get(keyText(trade));
      return time !== undefined && trade.micros > rowMicros(time) + renumberedMicros;
    };
    return { fresh: trades.filter((trade) => !isReused(trade)), reused: trades.filter(isReused) };
  }

  /** A consumer that runs for months adds a run a batch; now and then they are joined. */
  async compactNowAndThen(trades: readonly TradeKey[], signal: AbortSignal): Promise<void> {
    for (const id of new Set(trades.map(({ productId }) => productId))) {
      const rows = (this.#added.get(id) ?? 0) + 1;
      this.#added.set(id, rows < this.#compactAfter ? rows : 0);
      if (rows >= this.#compactAfter) await this.#compact(id, signal);
    }
  }

  #compact(productId: string, signal: AbortSignal): Promise<void> {
    return this.#persist("joining trade_runs", () => compactTradeRuns(this.#clickhouse, productId), signal);
  }

  #noteNewest(productId: string, micros: number): void {
    this.#newest.set(productId, Math.max(micros, this.#newest.get(productId) ?? 0));
  }
}

/** As readTradeTimes() names a trade. */
function keyText({ productId, tradeId }: TradeKey): string {
  return `${productId} ${tradeId}`;
}

/** Each trade once, the first row of it. */
function distinctTrades(trades: readonly BatchTrade[]): BatchTrade[] {
  const seen = new Map<string, BatchTrade>();
  for (const trade of trades) {
    const key = keyText(trade);
    if (!seen.has(key)) seen.set(key, trade);
  }
  return [...seen.values()];
}

/** A trade for `rejected`: it is nobody's repeat, and there is no room for it beside the stored one of its number. */
export function renumbered(row: Row, topic: string): Row {
  const { productId, tradeId } = tradeKey(row);
  const names: readonly string[] = columns.trades;
  const stamps = ["received_at", "source", "connection", "kafka_partition", "kafka_offset"];
  const trade = Object.fromEntries(row.map((value, at) => [names[at], value]));
  return [
    `trade ${tradeId} of ${productId} is stored, and this one is newer than all that is: the exchange numbers the product anew`,
    new TextEncoder().encode(JSON.stringify(trade)).toBase64(),
    topic,
    ...stamps.map((column) => row[names.indexOf(column)]!),
  ];
}
