import assert from "node:assert/strict";
import { RestError, type RestFailure } from "../feed/coinbase_rest.ts";
import { sortGaps } from "./fill_plan.ts";
import type { Round } from "./fill.ts";
import { createBlocks, createSizeReport, figuresOf, watchGaps } from "./watch.ts";
import { createLogger } from "../process/log.ts";
import { createRegistry } from "../process/metrics_server.ts";
import { createRequestTracker } from "./request_tracker.ts";
import type { Gap } from "./trade_gaps.ts";

const gap = (productId: string, first: number, last: number, more: Partial<Gap> = {}): Gap => ({
  ...{ productId, first, last, seenAt: 0, givenUp: 0, after: "", before: "" },
  ...more,
});

Deno.test("gap watch: a product that REST fails for waits longer and longer, the others don't, and it is one error", () => {
  const lines: string[] = [];
  let now = 0;
  const log = createLogger({}, {
    write(line) {
      const { level, message, product } = JSON.parse(line);
      lines.push(`${level} ${message} ${product}`);
    },
  });
  const blocks = createBlocks(log, 1000, () => now);
  const fail = (product: string, failure: RestFailure) =>
    blocks.failed(product, "fill", new RestError(`${failure}.`, failure));
  const waitOf = (product: string) => {
    const from = now;
    while (blocks.isBlocked(product)) now += 100;
    return now - from;
  };
  assert.equal(blocks.describe(), undefined);
  const longest = { away: 60_000, "not understood": 3_600_000, refused: 86_400_000 };
  for (const [failure, most] of Object.entries(longest) as [RestFailure, number][]) {
    let last = 0;
    for (let round = 0; round < 20; round++) {
      fail("A-B", failure);
      assert.equal(blocks.isBlocked("C-D"), false);
      last = waitOf("A-B");
      assert.ok(last <= most + 100, `${failure}: ${last}`);
    }
    assert.ok(last >= most / 2, `${failure}: ${last}`);
  }
  const said = lines.splice(0);
  assert.equal(said.length, 60);
  assert.deepEqual(
    said.filter((line) => line.startsWith("error")),
    ["error away. A-B", "error not understood. A-B", "error refused. A-B"],
  );
  // A delisted product is no trouble of the service.
  assert.equal(blocks.describe(), undefined);
  fail("A-B", "not understood");
  fail("C-D", "not understood");
  blocks.failed("C-D", "probe", new RestError("not understood.", "not understood"));
  fail("E-F", "not understood");
  assert.equal(blocks.describe(), "REST: not understood. 2 more products.");
  assert.equal(blocks.count(), 3);
  assert.deepEqual(lines.splice(0), [
    "error not understood. A-B",
    "warn not understood. C-D",
    "warn not understood. C-D",
    "warn not understood. E-F",
  ]);
  blocks.ended("C-D", "probe");
  assert.equal(blocks.isBlocked("C-D"), true, "what it was asked for first still fails");
  blocks.ended("C-D", "fill");
  assert.equal(blocks.isBlocked("C-D"), false);
  blocks.ended("E-F", "fill");
  blocks.retain("probe", new Set());
  assert.equal(blocks.isBlocked("A-B"), true);
  blocks.retain("fill", new Set(["C-D"]));
  assert.equal(blocks.describe(), undefined);
});

Deno.test("gap watch: a gap that is too large is reported once, however its ends move", () => {
  const unreported = createSizeReport();
  const ends = (gaps: Gap[]) => gaps.map(({ first, last }) => [first, last]);
  assert.deepEqual(ends(unreported([gap("A-B", 10, 99)])), [[10, 99]]);
  assert.deepEqual(ends(unreported([gap("A-B", 10, 150)])), [], "its tail grows");
  assert.deepEqual(
    ends(unreported([gap("A-B", 20, 80), gap("A-B", 90, 150)])),
    [],
    "it is filled in the middle",
  );
  assert.deepEqual(
    ends(unreported([gap("A-B", 20, 80), gap("C-D", 20, 80)])),
    [[20, 80]],
    "another product's",
  );
  assert.deepEqual(ends(unreported([gap("C-D", 20, 80)])), []);
  assert.deepEqual(ends(unreported([gap("A-B", 20, 80)])), [[20, 80]], "it was gone meanwhile");
});

Deno.test("gap watch: gaps in figures", () => {
  const now = 100e6;
  const gaps = [
    gap("A-B", 1, 10, { seenAt: 40e6, givenUp: 4 }),
    gap("A-B", 20, 24, { seenAt: 10e6, givenUp: 5 }),
    gap("C-D", 1, 1000, { seenAt: 0 }),
    gap("C-D", 2000, 2001, { seenAt: 90e6 }),
  ];
  assert.deepEqual(figuresOf(gaps, sortGaps(gaps, { maxGap: 100, now }), now), {
    gaps: { open: 2, given_up: 2, too_large: 1 },
    trades: { open: 8, given_up: 9, too_large: 1000 },
    oldestSeconds: 60,
  });
  assert.deepEqual(figuresOf([], new Map(), now), {
    gaps: { open: 0, given_up: 0, too_large: 0 },
    trades: { open: 0, given_up: 0, too_large: 0 },
    oldestSeconds: 0,
  });
});

const log = createLogger({}, { write: () => {} });

/** Watches gaps of these products, with a filler that does as told, until `stop` is called. */
function watch(
  products: string[],
  fill: (productId: string, stop: () => void) => Promise<Round>,
  blocks = createBlocks(log, 1),
) {
  const controller = new AbortController();
  const tracker = createRequestTracker({ againMs: 1, arrivalMs: 1 });
  const gaps = products.map((productId) => gap(productId, 1, 5));
  return watchGaps({
    filler: {
      trackerOf: () => tracker,
      fill: async (productId) => await fill(productId, () => controller.abort()),
      lag: () => Promise.resolve(0),
    },
    look: () => Promise.resolve({ gaps, missing: sortGaps(gaps, { maxGap: 10, now: 1e15 }) }),
    newest: () => Promise.resolve(new Map(products.map((productId) => [productId, { id: 5, time: 0 }]))),
    ...{ blocks, registry: createRegistry(), log, signal: controller.signal, intervalMs: 1, perSecond: 8 },
  });
}

Deno.test("gap watch: a product that REST refuses, or hangs at, neither ends the service nor keeps others waiting", async () => {
  const rounds = new Map<string, number>();
  const hanging = Promise.withResolvers<Round>();
  await watch(["A-B", "C-D", "E-F"], (productId, stop) => {
    const round = (rounds.get(productId) ?? 0) + 1;
    rounds.set(productId, round);
    if (productId === "A-B") throw new RestError("404 NotFound", "refused");
    if (productId === "C-D") return hanging.promise;
    if (round === 20 && (rounds.get("A-B") ?? 0) > 1) {
      stop();
      hanging.reject(new Error("aborted"));
    } else if (round >= 20) rounds.set(productId, 19);
    return Promise.resolve({ isWhole: true, absent: [], unproven: [] });
  });
  assert.equal(rounds.get("C-D"), 1);
});

Deno.test("gap watch: a gap that is filled ends the alarm of a probe, a minute before the next one", async () => {
  const blocks = createBlocks(log, 1);
  blocks.failed("A-B", "probe", new RestError("not understood.", "not understood"));
  let rounds = 0;
  await watch(["A-B"], (_, stop) => {
    if (++rounds === 2) stop();
    return Promise.resolve({ isWhole: true, absent: [], unproven: [] });
  }, blocks);
  assert.equal(blocks.describe(), undefined);
});

Deno.test("gap watch: what isn't a matter of REST ends the service", async () => {
  await assert.rejects(
    watch(["A-B"], () => Promise.reject(new TypeError("a mistake of ours"))),
    /a mistake of ours/,
  );
});
