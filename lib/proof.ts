/**
 * The proof that a tape is complete and counts every trade once: what ClickHouse has against what the exchange made.
 * Candles are computed anew from the exchange's own trades, by other code than tapehouse's: bigint decimals.
 *
 * @module
 */

/** Candle views, and the seconds of their intervals. */
export const intervals = { candles_1s: 1, candles_1m: 60, candles_1h: 3600, candles_1d: 86400 } as const;

/** Columns by name, as text; decimals without trailing zeros, as ClickHouse prints them. */
export type TextRow = Record<string, string>;

/** What a candle is made of. Decimals are strings; `time` is ISO 8601 or ClickHouse's form, in UTC. */
export interface CandleTrade {
  time: string;
  price: string;
  size: string;
  /** The side that took. */
  takerSide: "buy" | "sell";
}

/** Sums are scaled by 10^18, of products by 10^36. */
interface Sums {
  open: string;
  close: string;
  high: bigint;
  low: bigint;
  volume: bigint;
  quoteVolume: bigint;
  buyVolume: bigint;
  trades: number;
}

/** The candles of one product and one interval. */
export interface Candles {
  /** Trades must come in the order of their ids. */
  add(trade: CandleTrade): void;
  /** As `candleQuery` asks for them. */
  rows(): TextRow[];
}

/** @param seconds the interval; divides a day */
export function createCandles(productId: string, seconds: number): Candles {
  const candles = new Map<number, Sums>();
  return {
    add({ time, price, size, takerSide }) {
      const unix = Date.parse(`${time.slice(0, 10)}T${time.slice(11, 19)}Z`) / 1000;
      const start = unix - unix % seconds;
      const [exactPrice, exactSize] = [scaled(price), scaled(size)];
      let sums = candles.get(start);
      if (!sums) {
        const none = { volume: 0n, quoteVolume: 0n, buyVolume: 0n, trades: 0 };
        sums = { open: price, close: price, high: exactPrice, low: exactPrice, ...none };
        candles.set(start, sums);
      }
      sums.close = price;
      if (exactPrice > sums.high) sums.high = exactPrice;
      if (exactPrice < sums.low) sums.low = exactPrice;
      sums.volume += exactSize;
      sums.quoteVolume += exactPrice * exactSize;
      if (takerSide === "buy") sums.buyVolume += exactSize;
      sums.trades++;
    },
    rows: () =>
      [...candles].map(([start, sums]) => {
        const iso = new Date(start * 1000).toISOString();
        return {
          product_id: productId,
          time: `${iso.slice(0, 10)} ${iso.slice(11, 19)}.000000`,
          open: trimmed(sums.open),
          high: unscaled(sums.high, 18),
          low: unscaled(sums.low, 18),
          close: trimmed(sums.close),
          volume: unscaled(sums.volume, 18),
          quote_volume: unscaled(sums.quoteVolume, 36),
          buy_volume: unscaled(sums.buyVolume, 18),
          sell_volume: unscaled(sums.volume - sums.buyVolume, 18),
          trades: String(sums.trades),
          // 36 digits divided by 18 leave 18: the cut of bigint division is the view's own.
          vwap: unscaled(sums.quoteVolume / sums.volume, 18),
        };
      }),
  };
}

/** How ClickHouse is asked for the candles of a view. */
export function candleQuery(view: string): string {
  const decimals = [
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "buy_volume",
    "sell_volume",
    "vwap",
  ]
    .map((name) => `toString(${name}) AS ${name}`).join(", ");
  // The views' columns are aggregates: a subquery keeps the names apart.
  return `SELECT product_id, toString(time) AS time, ${decimals}, toString(trades) AS trades FROM (SELECT * FROM ${view})`;
}

/** Rows in one order, each as one line of JSON with sorted keys: equal sets are equal lists. */
export function canonical(rows: readonly TextRow[]): string[] {
  return rows.map((row) =>
    JSON.stringify(Object.fromEntries(Object.entries(row).sort(([a], [b]) => a < b ? -1 : 1)))
  ).sort();
}

/** The exchange, as far as the proof asks it: every trade can be had again by its number. `side` is the maker's. */
export interface TradesMade {
  lastTrade(productId: string): number;
  trade(productId: string, id: number): { time: string; price: string; size: string; side: string };
}

/** What was found of a product. */
export interface ProductProof {
  productId: string;
  /** count() of its rows in `trades`. */
  trades: number;
  /** uniqExact(trade_id) */
  unique: number;
  first: number;
  last: number;
  /** The last trade that the exchange made. */
  made: number;
  /** Candles of all four views that were compared. */
  candles: number;
}

/** What was found; the tape is complete and every trade counts once when there are no problems. */
export interface Proof {
  products: ProductProof[];
  /** One line each. */
  problems: string[];
}

/**
 * Compares what is stored with what the exchange made; both must stand still. For every product: count() =
 * uniqExact(trade_id) = last − first + 1, last is the exchange's own last, every candle of the four views equals the one
 * computed anew; no hole in trade_gaps, completeness = 1 in every hour.
 *
 * @param query answers a statement with its rows, columns as text
 */
export async function proveTape(
  query: (statement: string) => Promise<TextRow[]>,
  exchange: TradesMade,
  productIds: readonly string[],
): Promise<Proof> {
  const problems: string[] = [];
  const products: ProductProof[] = [];
  const stored = await query(
    `SELECT product_id, toString(count()) AS trades, toString(uniqExact(trade_id)) AS unique,
      toString(min(trade_id)) AS first, toString(max(trade_id)) AS last
    FROM trades GROUP BY product_id ORDER BY product_id`,
  );
  for (const { product_id: productId } of stored) {
    if (!productIds.includes(productId ?? "")) {
      problems.push(`${productId}: stored, but not one of the products`);
    }
  }
  const wanted = new Map<string, TextRow[]>(Object.keys(intervals).map((view) => [view, []]));
  for (const productId of productIds) {
    const row = stored.find(({ product_id }) => product_id === productId);
    if (!row) {
      problems.push(`${productId}: no trade is stored`);
      continue;
    }
    const [trades, unique, first, last] = [row.trades, row.unique, row.first, row.last].map(Number) as [
      number,
      number,
      number,
      number,
    ];
    const made = exchange.lastTrade(productId);
    if (trades !== unique) {
      problems.push(`${productId}: ${trades} rows for ${unique} trades: some are double`);
    }
    if (unique !== last - first + 1) {
      problems.push(
        `${productId}: ${unique} trades for the ids ${first} to ${last}: ${last - first + 1 - unique} lost`,
      );
    }
    if (last !== made) problems.push(`${productId}: stored to trade ${last}, the exchange has made ${made}`);
    const byView = Object.entries(intervals).map(([view, seconds]) => ({
      view,
      candles: createCandles(productId, seconds),
    }));
    for (let id = first; id <= made; id++) {
      const { time, price, size, side } = exchange.trade(productId, id);
      const trade: CandleTrade = { time, price, size, takerSide: side === "sell" ? "buy" : "sell" };
      for (const { candles } of byView) candles.add(trade);
    }
    let compared = 0;
    for (const { view, candles } of byView) {
      const rows = candles.rows();
      compared += rows.length;
      wanted.get(view)?.push(...rows);
    }
    products.push({ productId, trades, unique, first, last, made, candles: compared });
  }
  for (const [view, rows] of wanted) {
    const [have, want] = [canonical(await query(candleQuery(view))), canonical(rows)];
    const haveSet = new Set(have);
    const wantSet = new Set(want);
    const missing = want.filter((line) => !haveSet.has(line));
    const extra = have.filter((line) => !wantSet.has(line));
    if (missing.length + extra.length === 0 && have.length === want.length) continue;
    problems.push(
      `${view}: ${missing.length} of ${want.length} candles are not as the exchange's trades make them; ` +
        `for example ${missing[0]} is wanted, ${extra[0]} stored`,
    );
  }
  for (const hole of await query("SELECT product_id, first_missing, last_missing FROM trade_gaps")) {
    problems.push(`trade_gaps: ${JSON.stringify(hole)}`);
  }
  const incomplete = await query(
    `SELECT product_id, toString(hour) AS since, toString(ratio) AS stored, status FROM completeness
    WHERE ratio != 1 OR status NOT IN ('complete', 'unconfirmed')
      OR (status = 'unconfirmed' AND hour < (SELECT max(hour) FROM completeness))`,
  );
  for (const hour of incomplete) problems.push(`completeness: ${JSON.stringify(hour)}`);
  return { products, problems };
}

/** `1.50` → `1.5`: the form in which ClickHouse prints decimals. */
export function trimmed(decimal: string): string {
  return decimal.includes(".") ? decimal.replace(/0+$/, "").replace(/\.$/, "") : decimal;
}

function scaled(decimal: string): bigint {
  const [whole = "0", fraction = ""] = decimal.split(".");
  return BigInt(whole + fraction.padEnd(18, "0"));
}

function unscaled(value: bigint, digits: number): string {
  const text = value.toString().padStart(digits + 1, "0");
  return trimmed(`${text.slice(0, -digits)}.${text.slice(-digits)}`);
}
