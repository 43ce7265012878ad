/**
 * What the simulated exchange lists.
 *
 * @module
 */

/** A product and the habits of its market. */
export interface Product {
  /** Such as `BTC-USD`. */
  id: string;
  base: string;
  /** Fraction digits of prices: `quote_increment` is 10^-priceDigits. */
  priceDigits: number;
  /** Fraction digits of sizes: `base_increment` is 10^-sizeDigits. */
  sizeDigits: number;
  /** USD; the price wanders around it. */
  price: number;
  /** Standard deviation of a year's log return. */
  volatility: number;
  /** Trades a second when no other rate is asked for. */
  rate: number;
  /** USD that change hands in a trade on average. */
  funds: number;
  /** Levels a side of the order book that lie far from the market and stand still. */
  deepLevels: number;
}

// base, name, price digits, size digits, price, volatility, trades/s, USD a trade
const listed: [string, string, number, number, number, number, number, number][] = [
  ["BTC", "Bitcoin", 2, 8, 63500, 0.5, 7, 1200],
  ["ETH", "Ether", 2, 8, 1775, 0.65, 3, 900],
  ["SOL", "Solana", 2, 8, 142, 0.8, 2, 600],
  ["XRP", "XRP", 4, 6, 2.1, 0.8, 2, 500],
  ["DOGE", "Dogecoin", 5, 1, 0.17, 0.9, 1.5, 400],
  ["LTC", "Litecoin", 2, 8, 88, 0.7, 0.7, 300],
  ["ADA", "Cardano", 4, 8, 0.58, 0.85, 0.6, 250],
  ["LINK", "Chainlink", 3, 2, 13.4, 0.85, 0.6, 250],
  ["AVAX", "Avalanche", 2, 8, 18.2, 0.9, 0.4, 250],
  ["DOT", "Polkadot", 3, 8, 3.4, 0.85, 0.3, 200],
  ["BCH", "Bitcoin Cash", 2, 8, 492, 0.7, 0.3, 300],
  ["UNI", "Uniswap", 3, 6, 7.3, 0.9, 0.3, 200],
  ["AAVE", "Aave", 2, 3, 271, 0.9, 0.3, 300],
  ["XLM", "Stellar Lumen", 6, 8, 0.239, 0.85, 0.3, 200],
  ["HBAR", "Hedera", 5, 1, 0.157, 0.9, 0.3, 200],
  ["SHIB", "Shiba Inu", 8, 0, 0.0000117, 0.95, 0.3, 150],
  ["SUI", "Sui", 4, 1, 2.83, 0.95, 0.4, 250],
  ["NEAR", "Near", 3, 3, 2.15, 0.95, 0.2, 150],
  ["APT", "Aptos", 2, 2, 4.46, 0.9, 0.2, 150],
  ["ARB", "Arbitrum", 4, 2, 0.33, 0.95, 0.2, 150],
  ["OP", "Optimism", 3, 2, 0.55, 0.95, 0.2, 150],
  ["ATOM", "Cosmos", 3, 2, 4.04, 0.85, 0.2, 150],
  ["FIL", "Filecoin", 3, 3, 2.27, 0.9, 0.15, 120],
  ["ALGO", "Algorand", 4, 0, 0.18, 0.9, 0.15, 120],
  ["ETC", "Ether Classic", 2, 8, 16.3, 0.8, 0.15, 150],
  ["GRT", "The Graph", 4, 2, 0.082, 0.95, 0.1, 100],
  ["INJ", "Injective", 3, 2, 10.4, 0.95, 0.15, 120],
  ["PEPE", "Pepe", 8, 0, 0.0000098, 1.1, 0.3, 150],
  ["XTZ", "Tezos", 3, 2, 0.53, 0.85, 0.1, 100],
  ["ZEC", "Zcash", 2, 8, 38.5, 0.95, 0.1, 120],
];

const names = new Map(listed.map(([base, name]) => [base, name]));

/** Every product that can be subscribed. */
export const products: readonly Product[] = listed.map((
  [base, , priceDigits, sizeDigits, price, volatility, rate, funds],
) => ({
  id: `${base}-USD`,
  base,
  priceDigits,
  sizeDigits,
  price,
  volatility,
  rate,
  funds,
  // With these the snapshots of BTC and ETH are as large as the real ones, most of a megabyte.
  deepLevels: base === "BTC" || base === "ETH" ? 12_000 : 1500,
}));

/** Products that were once listed; subscribing to one is refused with that reason. */
export const delisted: readonly string[] = ["REP-USD"];

/** A product as `GET /products` and the `status` channel describe it. */
export interface ProductRow {
  id: string;
  base_currency: string;
  quote_currency: string;
  quote_increment: string;
  base_increment: string;
  display_name: string;
  min_market_funds: string;
  margin_enabled: boolean;
  post_only: boolean;
  limit_only: boolean;
  cancel_only: boolean;
  status: string;
  status_message: string;
  trading_disabled: boolean;
  fx_stablecoin: boolean;
  max_slippage_percentage: string;
  auction_mode: boolean;
  high_bid_limit_percentage: string;
}

/** Describes a product by its id and the fraction digits of its prices and sizes. */
export function productRow(id: string, priceDigits: number, sizeDigits: number): ProductRow {
  const [base = id, quote = "USD"] = id.split("-");
  return {
    id,
    base_currency: base,
    quote_currency: quote,
    quote_increment: increment(priceDigits),
    base_increment: increment(sizeDigits),
    display_name: `${base}/${quote}`,
    min_market_funds: "1",
    margin_enabled: false,
    post_only: false,
    limit_only: false,
    cancel_only: false,
    status: "online",
    status_message: "",
    trading_disabled: false,
    fx_stablecoin: false,
    max_slippage_percentage: "0.02000000",
    auction_mode: false,
    high_bid_limit_percentage: "",
  };
}

/** The frame of the `status` channel: every product and every currency. */
export function statusFrame(rows: readonly ProductRow[]): string {
  const sizeIncrements = new Map(rows.map((row) => [row.base_currency, row.base_increment]));
  const currencies = [...new Set([...sizeIncrements.keys(), "USD"])].map((id) => ({
    id,
    name: names.get(id) ?? (id === "USD" ? "United States Dollar" : id),
    min_size: id === "USD" ? "0.01" : sizeIncrements.get(id) ?? "0.00000001",
    status: "online",
    message: "",
    max_precision: id === "USD" ? "0.01" : sizeIncrements.get(id) ?? "0.00000001",
    convertible_to: id === "USD" ? ["USDC"] : [],
    details: { type: id === "USD" ? "fiat" : "crypto" },
  }));
  const products = rows.map((row) => ({ ...row, type: "spot" }));
  return JSON.stringify({ type: "status", products, currencies });
}

function increment(digits: number): string {
  return digits === 0 ? "1" : `0.${"1".padStart(digits, "0")}`;
}
