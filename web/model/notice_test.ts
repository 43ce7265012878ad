import assert from "node:assert/strict";
import { noticeText } from "./notice.ts";
import { emptyState } from "./state.ts";
import { defaultView } from "./url_state.ts";

Deno.test("notice: it is silent while all is well", () => {
  assert.equal(noticeText(emptyState(defaultView), 0), null);
});

Deno.test("notice: a lost stream says why and when the next try is, and what else is away", () => {
  const state = emptyState(defaultView);
  state.connection = { state: "waiting", until: 2_500, reason: "too slow" };
  assert.equal(
    noticeText(state, 0),
    "The live stream is lost: too slow. Prices stand still. Next try in 3 s.",
  );
  state.connection.reason = "";
  state.problems.set("status", "The API can't be reached.");
  assert.equal(
    noticeText(state, 9_000),
    "The live stream is lost. Prices stand still. The API can't be reached. Trying again…",
  );
});

Deno.test("notice: an API that is away comes before ClickHouse, and that before the product's problems", () => {
  const state = emptyState(defaultView);
  state.problems.set("trades", "No trades.").set("product", "No such product.");
  assert.equal(noticeText(state, 0), "No such product.");
  state.status = { simulated: false, products: [], clickhouse: { ok: false, reason: "Refused." } };
  assert.equal(noticeText(state, 0), "Refused. Live prices go on; history and completeness don't.");
  state.problems.set("products", "The API can't be reached.");
  assert.equal(noticeText(state, 0), "The API can't be reached.");
});
