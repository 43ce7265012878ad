/**
 * Trades, their runs and their candles agree before anything is added to them: what an insert that was torn, or a power
 * cut, has left in pieces is mended first (reconcile.ts).
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { BatchToWrite, Block } from "./batch_rows.ts";
import { readNewestTrades, reconcile, refillViews, type Repair } from "./reconcile.ts";
import { hourMicros, type Span } from "./mend_queries.ts";
import { type TradeKey, tradeKey } from "./rows.ts";
import { messageScope } from "./stored_rows.ts";

/** At the first sight of a product its trades are held against their candles and runs from so long before, in µs. */
const reconcileMicros = 3 * 3600e6;

/** What repairs found to be lost: the earliest trade, in µs. */
export interface Lost {
  since?: number;
}

/** Which tables were seen to agree. */
export class TableAgreement {
  readonly #clickhouse: ClickHouseClient;
  readonly #onRepair: (repair: Repair) => void;
  /** From where each product's tables are known to agree, in µs. */
  #agreeFrom = new Map<string, number>();
  /** Hours before that which are known to agree as well: `product/hour`. */
  #agreedHours = new Set<string>();

  /** @param onRepair told of each product whose tables disagreed, once they are mended */
  constructor(clickhouse: ClickHouseClient, onRepair: (repair: Repair) => void) {
    this.#clickhouse = clickhouse;
    this.#onRepair = onRepair;
  }

  /** Tables that were seen to agree may not any more: another consumer has written them, or a repair was interrupted. */
  distrust(): void {
    this.#agreeFrom = new Map();
    this.#agreedHours = new Set();
  }

  /**
   * Makes a product's tables agree before anything is added to them; what they lack is added only after that.
   *
   * @param waitForEarlier waits for inserts of the same partition that are still executed
   */
  async makeAgree(
    trades: readonly TradeKey[],
    batch: BatchToWrite,
    found: Lost,
    waitForEarlier: () => Promise<void>,
  ): Promise<void> {
    const agreed = this.#agreeFrom;
    const products = [...new Set(trades.map(({ productId }) => productId))];
    const unseen = products.filter((product) => !agreed.has(product));
    if (unseen.length > 0 || batch.mayBeStored) await waitForEarlier();
    const newestTimes = await readNewestTrades(this.#clickhouse, unseen);
    const spans = [...newestTimes].map(([product, time]) => ({ product, from: time - reconcileMicros }));
    await this.#agree(spans, batch, found);
    for (const product of unseen) {
      agreed.set(product, (newestTimes.get(product) ?? reconcileMicros) - reconcileMicros);
    }
    // Old trades of which a first try may have stored a part: nobody has looked so far back.
    if (!batch.mayBeStored) return;
    const known = this.#agreedHours;
    const hour = (trade: TradeKey) => `${trade.productId}/${hourOf(trade)}`;
    const isOld = (trade: TradeKey) => (hourOf(trade) + 1) * hourMicros <= (agreed.get(trade.productId) ?? 0);
    const old = trades.filter((trade) => isOld(trade) && !known.has(hour(trade)));
    await this.#agree(hoursOf(old), batch, found);
    for (const trade of old) known.add(hour(trade));
  }

  /**
   * After more than one try: the views behind the table may lack what a torn one stored, and may know its token although
   * they don't have its rows.
   */
  async withViews({ table, values }: Block, batch: BatchToWrite, found: Lost): Promise<void> {
    if (table === "trades") {
      await this.#agree(hoursOf(values().map(tradeKey)), batch, found);
    } else if (table !== "tickers" && table !== "products_state") {
      const { where, parameters } = messageScope(table, values());
      await refillViews(this.#clickhouse, table, where, parameters);
    }
  }

  /** Compares and mends. */
  async #agree(spans: readonly Span[], batch: BatchToWrite, found: Lost): Promise<void> {
    await reconcile(this.#clickhouse, spans, {
      async assertOwned() {
        batch.signal.throwIfAborted();
        await batch.assertOwned?.();
        batch.signal.throwIfAborted();
      },
      onRepair: (repair) => {
        this.#onRepair(repair);
        if (repair.lostSince !== undefined) found.since = Math.min(repair.lostSince, found.since ?? Infinity);
      },
    });
  }
}

/** The hour that a trade lies in, counted from the epoch. */
function hourOf({ micros }: TradeKey): number {
  return Math.floor(micros / hourMicros);
}

/** The hours that the trades lie in, those next to each other as one span. */
export function hoursOf(trades: readonly TradeKey[]): Span[] {
  const hours = new Map<string, Set<number>>();
  for (const trade of trades) {
    const { productId } = trade;
    const hour = hourOf(trade);
    const of = hours.get(productId);
    if (of === undefined) hours.set(productId, new Set([hour]));
    else of.add(hour);
  }
  return [...hours].flatMap(([product, of]) => {
    const sorted = [...of].sort((left, right) => left - right);
    let spans: { from: number; to: number }[] = [];
    // History of a quiet product is strewn over years: spans that lie further and further apart become one.
    for (let reach = 1; spans.length === 0 || spans.length > mostSpans; reach *= 4) {
      spans = [];
      for (const hour of sorted) {
        const before = spans.at(-1);
        if (before !== undefined && hour - before.to <= reach) before.to = hour;
        else spans.push({ from: hour, to: hour });
      }
    }
    return spans.map(({ from, to }) => ({ product, from: from * hourMicros, to: (to + 1) * hourMicros - 1 }));
  });
}

/** So many spans at the most are compared for a product's trades of one batch. */
const mostSpans = 20;
