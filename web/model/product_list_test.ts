import assert from "node:assert/strict";
import type { Product, Ticker } from "./api_types.ts";
import { inOrder, search } from "./product_list.ts";

function product(product_id: string, display_name: string): [string, Product] {
  return [product_id, { product_id, display_name, base_increment: null, quote_increment: null }];
}

const products = new Map([
  product("AAVE-USD", "Aave"),
  product("BTC-USD", "Bitcoin"),
  product("ETH-BTC", "Ether/Bitcoin"),
  product("ETH-USD", "Ether"),
]);

Deno.test("product list: a search finds what begins with it first, then what contains it, then names", () => {
  const all = [...products.keys()];
  assert.deepEqual(search(all, products, "btc"), ["BTC-USD", "ETH-BTC"]);
  assert.deepEqual(search(all, products, "eth/usd"), ["ETH-USD"]);
  assert.deepEqual(search(all, products, "bitcoin"), ["BTC-USD", "ETH-BTC"]);
  assert.deepEqual(search(all, products, "zzz"), []);
  assert.equal(search(all, products, "").length, 4);
});

Deno.test("product list: products stand in the order of their turnover", () => {
  const ticker = (product_id: string, price: string, volume_24h: string): [string, Ticker] => [
    product_id,
    { product_id, price, volume_24h, time: "" },
  ];
  const tickers = new Map([ticker("ETH-USD", "2000", "10"), ticker("BTC-USD", "60000", "1")]);
  assert.deepEqual(inOrder({ products, tickers }), ["BTC-USD", "ETH-USD", "AAVE-USD", "ETH-BTC"]);
});
