import assert from "node:assert/strict";
import { type TradeKey, tradeKey } from "./rows.ts";
import { hoursOf } from "./table_agreement.ts";

const trade = (product: string, time: string): TradeKey => tradeKey([product, 1, time]);
const micros = (iso: string) => Date.parse(iso) * 1000;

Deno.test("hoursOf(): hours next to each other are one span, the others are spans of their own", () => {
  const rows = [
    trade("A", "2026-01-01 10:59:59.999999"),
    trade("A", "2026-01-01 11:00:00"),
    trade("A", "2026-01-03 00:30:00.5"),
    trade("B", "2026-01-01 10:00:00.000000"),
  ];
  assert.deepEqual(hoursOf(rows), [
    { product: "A", from: micros("2026-01-01T10:00:00Z"), to: micros("2026-01-01T12:00:00Z") - 1 },
    { product: "A", from: micros("2026-01-03T00:00:00Z"), to: micros("2026-01-03T01:00:00Z") - 1 },
    { product: "B", from: micros("2026-01-01T10:00:00Z"), to: micros("2026-01-01T11:00:00Z") - 1 },
  ]);
  assert.deepEqual(hoursOf([]), []);
});

Deno.test("hoursOf(): history that is strewn over years is a bounded number of spans, and no trade lies outside of them", () => {
  const days = Array.from({ length: 400 }, (_, day) => new Date(Date.UTC(2020, 0, 1 + day * 3, day % 24)));
  const rows = days.map((day) => trade("A", day.toISOString().slice(0, 19).replace("T", " ")));
  const spans = hoursOf(rows);
  assert.ok(spans.length >= 1 && spans.length <= 20, String(spans.length));
  for (const day of days) {
    const at = day.getTime() * 1000;
    assert.ok(spans.some(({ from, to = 0 }) => from <= at && at <= to), day.toISOString());
  }
});
