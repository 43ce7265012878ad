import assert from "node:assert/strict";
import { createCandleCache } from "./candle_cache.ts";
import type { Parameters, ReadClient } from "../read_client.ts";
import { type Interval, parseInterval } from "../../core/interval.ts";
import { parseMicros } from "../../core/time.ts";

const hour = 3_600_000_000;
const minute = 60_000_000;
const noon = parseMicros("2026-07-07T12:00:00Z");

/** A database of trade times that answers the two questions of the cache, and counts them. */
function setUp(times: number[], maxCandles?: number) {
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
  const cache = createCandleCache({ rows, text } as unknown as ReadClient, {
    now: () => clock.now,
    ...(maxCandles !== undefined && { maxCandles }),
  });
  const interval = parseInterval("1m") as Interval;
  const page = async (from: number, to: number, limit = 1000, newest = false) => {
    const found = await cache.page({ product: "A", interval, from, to, limit, newest });
    return { starts: found.candles.map(({ start }) => start), more: found.more };
  };
  /** What is read for the candles of another interval around a time. */
  const readFor = async (name: string, around: number) => {
    const before = asked.candles.length;
    const other = parseInterval(name) as Interval;
    await cache.page({
      product: "A",
      interval: other,
      from: around,
      to: around + 1,
      limit: 10,
      newest: false,
    });
    return asked.candles.slice(before);
  };
  return {
    clock,
    asked,
    page,
    readFor,
    breakDown: () => broken = true,
    add: (time: number) => times.push(time),
  };
}

Deno.test("candle cache: a page is read once, and given again without asking", async () => {
  const { asked, page } = setUp([noon, noon + minute, noon + 3 * minute]);
  const starts = [noon, noon + minute, noon + 3 * minute];
  assert.deepEqual(await page(noon, noon + hour), { starts, more: false });
  const { hours } = asked;
  assert.deepEqual(await page(noon, noon + hour), { starts, more: false });
  assert.deepEqual(asked, { hours, candles: asked.candles });
  assert.equal(asked.candles.length, 1);
});

Deno.test("candle cache: the oldest or the newest of a range, over hours without trades", async () => {
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

Deno.test("candle cache: a late trade is seen when the numbers of trades are asked for anew, within two seconds", async () => {
  const { clock, page, add } = setUp([noon, noon + 5 * minute]);
  await page(noon, noon + hour);
  add(noon + 2 * minute);
  clock.now += 100;
  assert.equal((await page(noon, noon + hour)).starts.length, 2);
  clock.now += 2001;
  assert.deepEqual((await page(noon, noon + hour)).starts, [noon, noon + 2 * minute, noon + 5 * minute]);
});

Deno.test("candle cache: a database that is away is hidden for two seconds, not longer", async () => {
  const { clock, page, breakDown } = setUp([noon]);
  await page(noon, noon + hour);
  breakDown();
  clock.now += 1000;
  assert.equal((await page(noon, noon + hour)).starts.length, 1);
  clock.now += 2001;
  await assert.rejects(page(noon, noon + hour), /away/);
});

Deno.test("candle cache: a cell of weeks begins on Monday, one of other days at 1970", async () => {
  // 2026-07-07 is a Tuesday.
  const { readFor } = setUp([noon]);
  assert.deepEqual(await readFor("1w", noon), [["2026-07-06 00:00:00.000000", "2026-07-13 00:00:00.000000"]]);
  assert.deepEqual(await readFor("7d", noon), [["2026-07-02 00:00:00.000000", "2026-07-09 00:00:00.000000"]]);
});

Deno.test("candle cache: only so many candles are kept, and the series that was asked for longest ago goes first", async () => {
  // Each series has two candles.
  const { readFor } = setUp([noon, noon + minute], 5);
  const reads = async (interval: string) => (await readFor(interval, noon)).length;
  assert.deepEqual([await reads("1m"), await reads("2m"), await reads("1m"), await reads("2m")], [
    1,
    1,
    0,
    0,
  ]);
  // The third is one too many: 1m was asked for before 2m.
  assert.deepEqual([await reads("3m"), await reads("2m"), await reads("1m")], [1, 0, 1]);
});

Deno.test("candle cache: half a million candles are kept where nothing else is said", async () => {
  for (const [hours, kept] of [[69, true], [70, false]] as const) {
    let reads = 0;
    const rows = (_: string, parameters: Parameters) =>
      Promise.resolve(
        "product" in parameters
          ? Array.from({ length: hours }, (_, index) => ({ hour: noon / hour + index, trades: 3600 }))
          : ["A", "B"].map((product_id) => ({ product_id, total: hours * 3600, recent: [] })),
      );
    const text = (_: string, { from }: Parameters) => {
      reads++;
      const first = parseMicros(`${String(from).replace(" ", "T")}Z`);
      const lines = Array.from(
        { length: 3600 },
        (_, second) => `{"time":${first + second * 1e6},"trades":1}\n`,
      );
      return Promise.resolve(lines.join(""));
    };
    const cache = createCandleCache({ rows, text } as unknown as ReadClient, { now: () => 0 });
    const range = { from: noon, to: noon + hours * hour, limit: 300_000, newest: false };
    const interval = parseInterval("1s") as Interval;
    // Twice 248,400, or twice 252,000.
    for (const product of ["A", "B"]) {
      const { candles } = await cache.page({ product, interval, ...range });
      assert.equal(candles.length, hours * 3600);
    }
    assert.equal(reads, 2 * hours);
    await cache.page({ product: "A", interval, ...range });
    assert.equal(reads === 2 * hours, kept);
  }
});
