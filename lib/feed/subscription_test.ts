import assert from "node:assert/strict";
import { createSubscription, pairsOf, subscribeMessage } from "./subscription.ts";

const pairs = pairsOf(["ticker", "level2_batch", "status"], ["BTC-USD", "ETH-USD"]);
const names = (list: { channel: string; productId: string }[]) =>
  list.map(({ channel, productId }) => `${channel}:${productId}`);

Deno.test("subscription: one message asks for all; a channel with fewer products names its own", () => {
  assert.deepEqual(JSON.parse(subscribeMessage(pairs)), {
    type: "subscribe",
    product_ids: ["BTC-USD", "ETH-USD"],
    channels: ["ticker", "level2_batch", "status"],
  });
  const some = [...pairsOf(["ticker"], ["BTC-USD", "ETH-USD"]), ...pairsOf(["matches"], ["ETH-USD"])];
  assert.deepEqual(JSON.parse(subscribeMessage(some)).channels, [
    "ticker",
    { name: "matches", product_ids: ["ETH-USD"] },
  ]);
});

Deno.test("subscription: acknowledgements are cumulative, per product and channel, under the exchange's own channel names", () => {
  const subscription = createSubscription(pairs);
  const first = subscription.acknowledge({
    type: "subscriptions",
    channels: [
      { name: "level2_50", product_ids: ["BTC-USD"], account_ids: null },
      { name: "ticker", product_ids: ["BTC-USD", "ETH-USD"] },
    ],
  });
  assert.deepEqual(names(first), ["level2_batch:BTC-USD", "ticker:BTC-USD", "ticker:ETH-USD"]);
  assert.deepEqual(names(subscription.pending()), ["level2_batch:ETH-USD", "status:"]);
  const second = subscription.acknowledge({
    channels: [{ name: "level2_50", product_ids: ["BTC-USD", "ETH-USD"] }, {
      name: "status",
      product_ids: [""],
    }],
  });
  assert.deepEqual(names(second), ["level2_batch:ETH-USD", "status:"]);
  assert.deepEqual(subscription.pending(), []);
});

Deno.test("subscription: a refused product is left out, the others stay asked for", () => {
  const subscription = createSubscription(pairsOf(["ticker", "matches"], ["ETH-USD", "ETH-USDT"]));
  const refusal = subscription.handleRefusal({
    type: "error",
    message: "Failed to subscribe",
    reason: "ETH-USDT is not a valid product",
  });
  assert.deepEqual(refusal, {
    productId: "ETH-USDT",
    reason: "Failed to subscribe: ETH-USDT is not a valid product",
  });
  assert.deepEqual(names(subscription.pending()), ["ticker:ETH-USD", "matches:ETH-USD"]);
});

Deno.test("subscription: a refused channel is left out for every product", () => {
  const subscription = createSubscription(pairs);
  const { channel, productId } = subscription.handleRefusal({
    message: "Failed to subscribe",
    reason: "ticker is closed",
  });
  assert.deepEqual([channel, productId], ["ticker", undefined]);
  assert.deepEqual(names(subscription.pending()), [
    "level2_batch:BTC-USD",
    "level2_batch:ETH-USD",
    "status:",
  ]);
});

Deno.test("subscription: a channel that is acknowledged without products is acknowledged for all", () => {
  for (const channel of ["ticker", { name: "ticker" }]) {
    const subscription = createSubscription(pairs);
    assert.deepEqual(names(subscription.acknowledge({ channels: [channel] })), [
      "ticker:BTC-USD",
      "ticker:ETH-USD",
    ]);
  }
});

Deno.test("subscription: an error that names nothing we asked for changes nothing; strange frames are tolerated", () => {
  const subscription = createSubscription(pairs);
  assert.deepEqual(subscription.handleRefusal({ message: "slow down" }), { reason: "slow down" });
  for (
    const frame of [{}, { channels: 5 }, {
      channels: [null, 7, "none", { name: 3 }, { name: "ticker", product_ids: [] }],
    }]
  ) {
    assert.deepEqual(subscription.acknowledge(frame), []);
  }
  assert.equal(subscription.pending().length, 5);
});
