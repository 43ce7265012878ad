import assert from "node:assert/strict";
import { apply, emptyState, leaveProduct, outagesAfter } from "./state.ts";
import { defaultView } from "./url_state.ts";

function stateOf(product: string) {
  return emptyState({ ...defaultView, product });
}

const match = {
  type: "match",
  product_id: "A-B",
  trade_id: 7,
  price: "2",
  size: "1",
  taker_side: "buy",
  time: "2026-07-07T22:58:17.000000Z",
  received_at: "2026-07-07T22:58:17.040000Z",
};

Deno.test("state: a trade changes the tape and the price, and is counted until it is painted", () => {
  const state = stateOf("A-B");
  assert.deepEqual(apply(state, match), ["tape", "price"]);
  assert.deepEqual(apply(state, { ...match, trade_id: 8, price: "1.9" }), ["tape", "price"]);
  assert.deepEqual(state.lasts.get("A-B"), { price: "1.9", trade_id: 8, direction: -1 });
  assert.equal(state.unpainted.length, 2);
});

Deno.test("state: an unchanged price keeps its colour, and an older trade doesn't move it", () => {
  const state = stateOf("A-B");
  apply(state, match);
  apply(state, { ...match, trade_id: 9, price: "3" });
  apply(state, { ...match, trade_id: 10, price: "3.0" });
  apply(state, { ...match, trade_id: 8, price: "1" });
  assert.deepEqual(state.lasts.get("A-B"), { price: "3.0", trade_id: 10, direction: 1 });
  assert.equal(state.tape.length, 4);
});

Deno.test("state: what belongs to another product or interval changes nothing that is shown", () => {
  const state = stateOf("A-B");
  assert.deepEqual(apply(state, { ...match, product_id: "C-D" }), []);
  const candles = { type: "candles", product_id: "A-B", interval: "5m", candle: { time: "" } };
  assert.deepEqual(apply(state, candles), []);
  assert.deepEqual(apply(state, { ...match, type: "ticker", product_id: "C-D" }), ["tickers"]);
  assert.deepEqual(apply(state, { type: "from the future" }), []);
});

Deno.test("state: a candle that changes twice in a frame is drawn once", () => {
  const state = stateOf("A-B");
  const change = (time: string, close: string) =>
    apply(state, { type: "candles", product_id: "A-B", interval: "1m", candle: { time, close } });
  change("1", "5");
  change("2", "6");
  change("1", "7");
  assert.deepEqual(state.changedCandles.map(({ time, close }) => [time, close]), [["1", "7"], ["2", "6"]]);
});

Deno.test("state: a book that isn't known says why", () => {
  const state = stateOf("A-B");
  apply(state, { type: "book", product_id: "A-B", time: "t", bids: [["1", "1"]], asks: [] });
  assert.equal(state.book?.bids.length, 1);
  apply(state, { type: "book_invalid", product_id: "A-B", reason: "disconnected" });
  assert.deepEqual(state.book, { time: null, bids: [], asks: [], reason: "disconnected" });
  leaveProduct(state);
  assert.equal(state.book, null);
});

Deno.test("state: the feed is away from the disconnect until it is subscribed again", () => {
  const at = (second: number) => new Date(second * 1000).toISOString();
  const away = outagesAfter([], { event: "disconnected", time: at(10), reason: "close 1006" }, "A-B");
  assert.deepEqual(away, [
    { from: 10, to: Infinity, kind: "feed", missing: 0, text: "the feed was away: close 1006" },
  ]);
  const back = outagesAfter(away, { event: "subscribed", time: at(12), product_id: "A-B" }, "A-B");
  assert.equal(back[0]?.to, 12);
  assert.deepEqual(
    outagesAfter(back, { event: "disconnected", time: at(13), product_id: "C-D" }, "A-B"),
    back,
  );
});
