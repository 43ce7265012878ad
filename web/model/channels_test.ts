import assert from "node:assert/strict";
import { bookDepth, changes, channelsOf } from "./channels.ts";

const all = ["BTC-USD", "ETH-USD"];

Deno.test("channels: another product moves its own channels and leaves the prices of all alone", () => {
  const requests = changes(channelsOf("BTC-USD", "1m", all), channelsOf("ETH-USD", "1m", all));
  const of = (product: string) => [
    { name: "matches", product_ids: [product] },
    { name: "candles", product_ids: [product], interval: "1m" },
    { name: "book", product_ids: [product], depth: bookDepth },
  ];
  assert.deepEqual(requests, [
    { type: "unsubscribe", product_ids: [], channels: of("BTC-USD") },
    { type: "subscribe", product_ids: [], channels: of("ETH-USD") },
  ]);
});

Deno.test("channels: another interval moves only those of the candles", () => {
  const requests = changes(channelsOf("BTC-USD", "1m", all), channelsOf("BTC-USD", "5m", all));
  assert.deepEqual(requests.map(({ type, channels }) => [type, channels.map(({ interval }) => interval)]), [
    ["unsubscribe", ["1m"]],
    ["subscribe", ["5m"]],
  ]);
});

Deno.test("channels: the same view asks for nothing, and a product that comes is added to the prices", () => {
  const view = channelsOf("BTC-USD", "1m", all);
  assert.deepEqual(changes(view, view), []);
  const [request, ...rest] = changes(view, channelsOf("BTC-USD", "1m", [...all, "SOL-USD"]));
  assert.deepEqual(rest, []);
  assert.deepEqual(request?.channels.map(({ name, product_ids }) => [name, product_ids]), [
    ["ticker", ["SOL-USD"]],
    ["anomalies", ["SOL-USD"]],
    ["feed_events", ["SOL-USD"]],
  ]);
});

Deno.test("channels: a product that the list doesn't know is subscribed all the same", () => {
  assert.deepEqual(channelsOf("X-Y", "1m", [])[0], { name: "matches", product_ids: ["X-Y"] });
  assert.deepEqual(channelsOf("", "1m", []), []);
});
