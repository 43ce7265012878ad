import assert from "node:assert/strict";
import { verdict } from "./tape_state.ts";

const now = Date.UTC(2026, 6, 8) * 1000;

function statusOf(completeness_24h: number | null) {
  const product = {
    product_id: "A-B",
    last_trade_at: null,
    last_received_at: null,
    open_gaps: 0,
    missing_trades: 0,
  };
  return { simulated: false, products: [{ ...product, completeness_24h }] };
}

function gap(missing: number, before_time: string) {
  return {
    product_id: "A-B",
    first_missing: 1,
    last_missing: missing,
    missing,
    after_time: before_time,
    before_time,
  };
}

Deno.test("tape state: it is green only when nothing of the last 24 hours is missing", () => {
  const old = gap(5, "2026-07-06T00:00:00.000000Z");
  const recent = gap(5, "2026-07-07T12:00:00.000000Z");
  assert.deepEqual(verdict(statusOf(1), [old], "A-B", now), {
    value: "100.000 %",
    note: "nothing missing",
    tone: "up",
  });
  assert.deepEqual(verdict(statusOf(1), [recent], "A-B", now), {
    value: "99.999 %",
    note: "5 missing · 1 gap",
    tone: "warn",
  });
  assert.deepEqual(verdict(statusOf(0.95), [recent, recent], "A-B", now), {
    value: "95.000 %",
    note: "10 missing · 2 gaps",
    tone: "down",
  });
});

Deno.test("tape state: what isn't known isn't green", () => {
  for (const status of [null, statusOf(null), { simulated: false, products: [] }]) {
    assert.equal(verdict(status, [], "A-B", now).tone, "flat");
  }
});
