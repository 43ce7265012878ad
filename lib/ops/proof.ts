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

/** Answers a statement with its rows, columns as text. */
type Query = (statement: string) => Promise<TextRow[]>;

/** The first stored trade of each product, for `proveTape` to find there later. */
export async function firstTrades(query: Query): Promise<Map<string, number>> {
  const rows = await query(
    "SELECT product_id, toString(min(trade_id)) AS first FROM trades GROUP BY product_id",
  );
  return new Map(rows.map((row) => [row.product_id ?? "", Number(row.first)]));
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
 * computed anew; no gap in trade_gaps, completeness = 1 in every hour.
 *
 * @param known by product, a trade that was stored once: it and all after it must be there
 */
export async function proveTape(
  query: Query,
  exchange: TradesMade,
  productIds: readonly string[],
  known: ReadonlyMap<string, number> = new Map(),
): Promise<Proof> {
  const stored = await readStoredIds(query);
  const problems = [...stored.keys()].filter((productId) => !productIds.includes(productId))
    .map((productId) => `${productId}: stored, but not one of the products`);
  const products: ProductProof[] = [];
  const wanted: Record<View, TextRow[]> = { candles_1s: [], candles_1m: [], candles_1h: [], candles_1d: [] };
  for (const productId of productIds) {
    const ids = stored.get(productId);
    if (ids === undefined) {
      problems.push(`${productId}: no trade is stored`);
      continue;
    }
    const made = exchange.lastTrade(productId);
    const wrong = wrongIds(ids, made, known.get(productId) ?? ids.first);
    problems.push(...wrong.map((text) => `${productId}: ${text}`));
    let candles = 0;
    for (const [view, rows] of candlesOf(exchange, productId, ids.first, made)) {
      wanted[view].push(...rows);
      candles += rows.length;
    }
    products.push({ productId, ...ids, made, candles });
  }
  for (const view of views) {
    problems.push(...wrongCandles(view, await query(candleQuery(view)), wanted[view]));
  }
  problems.push(...await readGapProblems(query), ...await readIncompleteHours(query));
  return { products, problems };
}

type View = keyof typeof intervals;
const views = Object.keys(intervals) as View[];

/** What `trades` has of a product. */
type StoredIds = Pick<ProductProof, "trades" | "unique" | "first" | "last">;

async function readStoredIds(query: Query): Promise<Map<string, StoredIds>> {
  const rows = await query(
    `SELECT product_id, toString(count()) AS trades, toString(uniqExact(trade_id)) AS unique,
      toString(min(trade_id)) AS first, toString(max(trade_id)) AS last
    FROM trades GROUP BY product_id ORDER BY product_id`,
  );
  return new Map(rows.map(({ product_id = "", trades, unique, first, last }) => [product_id, {
    trades: Number(trades),
    unique: Number(unique),
    first: Number(first),
    last: Number(last),
  }]));
}

/** What is wrong with a product's ids, when `made` is the last one that the exchange made and `known` was stored once. */
function wrongIds({ trades, unique, first, last }: StoredIds, made: number, known: number): string[] {
  const wrong: string[] = [];
  const ids = last - first + 1;
  if (first > known) {
    wrong.push(`stored from trade ${first} on, and ${known} was stored: ${first - known} lost`);
  }
  if (trades !== unique) wrong.push(`${trades} rows for ${unique} trades: some are double`);
  if (unique !== ids) wrong.push(`${unique} trades for the ids ${first} to ${last}: ${ids - unique} lost`);
  if (last !== made) wrong.push(`stored to trade ${last}, the exchange has made ${made}`);
  return wrong;
}

/** The candles of each view, of the exchange's own trades. */
function candlesOf(
  exchange: TradesMade,
  productId: string,
  first: number,
  last: number,
): [View, TextRow[]][] {
  const byView = views.map((view) => ({ view, candles: createCandles(productId, intervals[view]) }));
  for (let id = first; id <= last; id++) {
    const { time, price, size, side } = exchange.trade(productId, id);
    const trade: CandleTrade = { time, price, size, takerSide: side === "sell" ? "buy" : "sell" };
    for (const { candles } of byView) candles.add(trade);
  }
  return byView.map(({ view, candles }) => [view, candles.rows()]);
}

/** At most one problem of a view, with an example. */
function wrongCandles(view: View, stored: readonly TextRow[], wanted: readonly TextRow[]): string[] {
  const [have, want] = [canonical(stored), canonical(wanted)];
  const haveSet = new Set(have);
  const wantSet = new Set(want);
  const missing = want.filter((line) => !haveSet.has(line));
  const extra = have.filter((line) => !wantSet.has(line));
  if (missing.length + extra.length === 0 && have.length === want.length) return [];
  return [
    `${view}: ${missing.length} of ${want.length} candles are not as the exchange's trades make them; ` +
    `for example ${missing[0]} is wanted, ${extra[0]} stored`,
  ];
}

async function readGapProblems(query: Query): Promise<string[]> {
  const gaps = await query("SELECT product_id, first_missing, last_missing FROM trade_gaps");
  return gaps.map((gap) => `trade_gaps: ${JSON.stringify(gap)}`);
}

async function readIncompleteHours(query: Query): Promise<string[]> {
  const hours = await query(
    `SELECT product_id, toString(hour) AS since, toString(ratio) AS stored, status FROM completeness
    WHERE ratio != 1 OR status NOT IN ('complete', 'unconfirmed')
      OR (status = 'unconfirmed' AND hour < (SELECT max(hour) FROM completeness))`,
  );
  return hours.map((hour) => `completeness: ${JSON.stringify(hour)}`);
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
