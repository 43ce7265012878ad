import assert from "node:assert/strict";
import { createCandleCache } from "./candles.ts";
import type { Database, Parameters } from "./database.ts";
import { type Interval, parseInterval } from "./parameters.ts";
import { parseMicros } from "../time.ts";

const hour = 3_600_000_000;
const minute = 60_000_000;
const noon = parseMicros("2026-07-07T12:00:00Z");

/** A database of trade times that answers the two questions of the cache, and counts them. */
function setUp(times: number[]) {
  const clock = { now: 0 };
  const asked = { hours: 0, candles: [] as [string, string][] };
  let broken = false;
  const group = (length: number) => Map.groupBy(times, (time) => Math.floor(time / length));
  const rows = (statement: string, parameters: Parameters) => {
    if (broken) return Promise.reject(new Error("away"));
    asked.hours++;
    const hours = [...group(hour)].map(([index, some]) => ({ hour: index, trades: some.length }));
    if ("product" in parameters) return Promise.resolve(hours);
    assert(statement.includes("total"));
    return Promise.resolve([{ product_id: "A", total: times.length, recent: [] }]);
  };
  const text = (_: string, { from, to }: Parameters) => {
    if (broken) return Promise.reject(new Error("away"));
    asked.candles.push([String(from), String(to)]);
    const [since, until] = [from, to].map((time) => parseMicros(`${String(time).replace(" ", "T")}Z`));
    return Promise.resolve(
      [...group(minute)].sort(([left], [right]) => left - right)
        .filter(([index]) => index * minute >= (since ?? 0) && index * minute < (until ?? 0))
        .map(([index, some]) => `{"time":${index * minute},"trades":${some.length}}\n`).join(""),
    );
  };
  const cache = createCandleCache({ rows, text } as unknown as Database, () => clock.now);
  const interval = parseInterval("1m") as Interval;
  const page = async (from: number, to: number, limit = 1000, newest = false) => {
    const found = await cache.page({ product: "A", interval, from, to, limit, newest });
    return { starts: found.candles.map(({ start }) => start), more: found.more };
  };
  return { clock, asked, page, breakDown: () => broken = true, add: (time: number) => times.push(time) };
}

Deno.test("a page is read once, and given again without asking", async () => {
  const { asked, page } = setUp([noon, noon + minute, noon + 3 * minute]);
  const starts = [noon, noon + minute, noon + 3 * minute];
  assert.deepEqual(await page(noon, noon + hour), { starts, more: false });
  const { hours } = asked;
  assert.deepEqual(await page(noon, noon + hour), { starts, more: false });
  assert.deepEqual(asked, { hours, candles: asked.candles });
  assert.equal(asked.candles.length, 1);
});

Deno.test("the oldest or the newest of a range, over hours without trades", async () => {
  const times = [noon, noon + minute, noon + 500 * hour, noon + 9000 * hour];
  const { page } = setUp(times);
  const [first, second, third, fourth] = times;
  assert.deepEqual(await page(0, noon + 10_000 * hour, 3), { starts: [first, second, third], more: true });
  assert.deepEqual(await page(0, noon + 10_000 * hour, 3, true), {
    starts: [second, third, fourth],
    more: true,
  });
  assert.deepEqual(await page(noon + minute, noon + 2 * minute), { starts: [second], more: false });
  // A candle that the range cuts is a whole one.
  assert.deepEqual(await page(noon + 1, noon + minute), { starts: [first], more: false });
  assert.deepEqual(await page(noon + 20_000 * hour, noon + 20_001 * hour), { starts: [], more: false });
});

Deno.test("a late trade is seen when the numbers of trades are asked for anew, within two seconds", async () => {
  const { clock, page, add } = setUp([noon, noon + 5 * minute]);
  await page(noon, noon + hour);
  add(noon + 2 * minute);
  clock.now += 100;
  assert.equal((await page(noon, noon + hour)).starts.length, 2);
  clock.now += 2001;
  assert.deepEqual((await page(noon, noon + hour)).starts, [noon, noon + 2 * minute, noon + 5 * minute]);
});

Deno.test("a database that is away is hidden for two seconds, not longer", async () => {
  const { clock, page, breakDown } = setUp([noon]);
  await page(noon, noon + hour);
  breakDown();
  clock.now += 1000;
  assert.equal((await page(noon, noon + hour)).starts.length, 1);
  clock.now += 2001;
  await assert.rejects(page(noon, noon + hour), /away/);
});
