import assert from "node:assert/strict";
import type { ReadClient } from "../read_client.ts";
import { createKnownProducts, nearest } from "./known_products.ts";
import { Problem } from "../problem.ts";

Deno.test("known products: the nearest names come first, those that have nothing in common not at all", () => {
  const names = ["BTC-USD", "ETH-USD", "BTC-EUR", "XRP-USD"];
  assert.deepEqual(nearest("btc-usd", names), ["BTC-USD", "ETH-USD", "BTC-EUR"]);
  assert.equal(nearest("BTCUSD", names)[0], "BTC-USD");
  assert.deepEqual(nearest("", names), []);
  assert.deepEqual(nearest("\u{1F600}", ["A"]), []);
});

Deno.test("known products: a product that has just come is found, an unknown one is answered with near names", async () => {
  let stored = ["BTC-USD"];
  let asked = 0;
  let now = 0;
  const rows = () => {
    asked++;
    return Promise.resolve(stored.map((product_id) => ({ product_id })));
  };
  const known = createKnownProducts({ rows } as unknown as ReadClient, () => now);
  await known.assertKnown("BTC-USD");
  await known.assertKnown("BTC-USD");
  assert.equal(asked, 1);
  stored = ["BTC-USD", "ETH-USD"];
  now = 1000;
  await known.assertKnown("ETH-USD");
  assert.equal(asked, 2);
  await assert.rejects(
    known.assertKnown("ETH-USDT"),
    (error) =>
      error instanceof Problem && error.kind === "unknown-product" &&
      error.details.nearest?.[0] === "ETH-USD",
  );
  // Those who guess names don't make the database work.
  assert.equal(asked, 2);
});
