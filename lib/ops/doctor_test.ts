import { deepEqual, equal, match } from "node:assert/strict";
import { type Check, type Finding, NotChecked, ok, render, runChecks, trouble, warning } from "./doctor.ts";
import {
  judgeCandles,
  judgeClocks,
  judgeCompleteness,
  judgeDisk,
  judgeDoubles,
  judgeEvents,
  judgeFreshness,
  judgeGaps,
  judgeGroup,
  judgeMigrations,
  judgeParts,
  judgeRejected,
  judgeRetention,
  judgeRuns,
  judgeTopics,
} from "./doctor_judgements.ts";

const hangs = () => new Promise<Finding>(() => {});
const fails = (error: Error) => () => Promise.reject(error);

Deno.test("doctor: a check that hangs or throws is in trouble by itself, and who needs it isn't checked", async () => {
  const checks: Check[] = [
    { name: "hangs", look: hangs },
    { name: "throws", look: fails(new Error("no\nstack")) },
    {
      name: "throws at once",
      look() {
        throw new NotChecked("see environment");
      },
    },
    { name: "well", look: () => Promise.resolve(ok("fine")) },
    { name: "needs", needs: "throws", look: () => Promise.resolve(ok("never seen")) },
    { name: "needs well", needs: "well", look: () => Promise.resolve(warning("odd", "look")) },
  ];
  const checked = await runChecks(checks, 50);
  deepEqual(checked, [
    { name: "hangs", ...trouble("no answer within 0.05 s", "") },
    { name: "throws", ...trouble("no", "") },
    { name: "throws at once", ...warning("not checked, see environment", "") },
    { name: "well", ...ok("fine") },
    { name: "needs", ...warning("not checked, see throws", "") },
    { name: "needs well", ...warning("odd", "look") },
  ]);
  deepEqual(render(checked.slice(3)).split("\n"), [
    "✓ well        fine",
    "! needs       not checked, see throws",
    "! needs well  odd → look",
    "",
  ]);
});

Deno.test("doctor: a check with a limit of its own is given it", async () => {
  const late = () => new Promise<Finding>((resolve) => setTimeout(() => resolve(ok("late")), 200));
  const checked = await runChecks([{ name: "late", look: late, limitMs: 60_000 }, {
    name: "hangs",
    look: hangs,
  }], 50);
  deepEqual(checked.map(({ status }) => status), ["ok", "trouble"]);
});

Deno.test("doctor: retention, clocks and tables that differ are judged", () => {
  const day = (rows: number, trades: number) => ({ productId: "A-B", day: "2026-07-07", rows, trades });
  const left = (seconds: number, retention = 1000) =>
    judgeRetention([{ topic: "t", left: seconds, retention, isSizeLimited: false }]);
  const clock = (ahead: number, within = 0.01) => judgeClocks([{ name: "ClickHouse", ahead, within }]);
  const runs = (withoutRun: [number, number][], withoutTrade: [number, number][]) => {
    const ids = (ranges: [number, number][]) => ranges.map(([first, last]) => ({ first, last }));
    const difference = { productId: "A-B", withoutRun: ids(withoutRun), withoutTrade: ids(withoutTrade) };
    return judgeRuns({ days: [day(10, 10)], differences: [difference] });
  };
  const wrong = { interval: "1m", productId: "A-B", time: "2026-07-07 00:01:00.000000" };
  const cases: [Finding, Finding["status"], RegExp][] = [
    [left(900), "ok", /^t 15 m of 17 m left$/],
    [left(499), "warning", /8 m of 17 m left/],
    [left(249), "trouble", /4 m of 17 m left/],
    [left(-5), "trouble", /may be deleted at any moment/],
    [left(Infinity, Infinity), "ok", /^t is kept for ever$/],
    [
      judgeRetention([{ topic: "t", left: 999, retention: 1000, isSizeLimited: true }]),
      "ok",
      /its size is limited too/,
    ],
    [clock(0.004), "ok", /^ClickHouse agrees \(within 10 ms\)$/],
    [clock(0.2), "ok", /^ClickHouse is 200 ms ahead$/],
    [clock(-2.5), "warning", /^ClickHouse is 2500 ms behind$/],
    [clock(-3600), "trouble", /^ClickHouse is 60 m behind$/],
    // As far off as the answer took to come is no sign.
    [clock(2, 2.5), "ok", /agrees/],
    [judgeDoubles([day(10, 10)]), "ok", /^none among the 10 trades/],
    [
      judgeDoubles([day(12, 10), day(10, 10)]),
      "trouble",
      /^2 rows too many: A-B 2026-07-07 has 12 rows of 10 trades$/,
    ],
    [judgeRuns({ days: [day(10, 10)], differences: [] }), "ok", /^the 10 trades/],
    [runs([[5, 7]], []), "trouble", /^A-B: 3 trades are in no run \(5 to 7\)$/],
    [runs([], [[5, 5], [9, 9]]), "trouble", /^A-B: 2 trades of runs aren't stored \(5 to 5 …\)$/],
    [judgeCandles({ days: 3, candles: 10, wrong: [] }), "ok", /^the 10 candles of the last 3 days/],
    [
      judgeCandles({ days: 1, candles: 10, wrong: [wrong] }),
      "trouble",
      /^1 of the 10 candles of today aren't what the trades make: A-B 2026-07-07 00:01:00.000000 of candles_1m$/,
    ],
  ];
  for (const [finding, status, found] of cases) {
    equal(finding.status, status, finding.found);
    match(finding.found, found);
    equal(finding.advice !== "", status !== "ok", finding.found);
  }
});

Deno.test("doctor: what is found is judged well, a warning or trouble", () => {
  const group = (members: number | undefined, messages: number, oldestSeconds: number) =>
    judgeGroup("g", members, [{ topic: "t", messages, oldestSeconds }]);
  const migration = { name: "002_b", checksum: "", statements: [] };
  const fresh = (received: number) => judgeFreshness(["A-B"], [{ productId: "A-B", received, traded: 5 }]);
  const hour = { after: "2026-07-07 10:00:00.000000", before: "2026-07-07 11:00:00.000000" };
  const gap = { productId: "A-B", first: 10, last: 19, seenAt: 0, givenUp: 0, ...hour };
  const gaps = (seconds: number, givenUp: [number, number][] = [], maxGap = 10) =>
    judgeGaps(
      [gap, { ...gap, first: 100, last: 104 }].slice(0, maxGap < 10 ? 2 : 1),
      new Map([["A-B", givenUp.map(([first, last]) => ({ first, last }))]]),
      seconds * 1e6,
      maxGap,
    );
  const disk = (free: number) => judgeDisk([{ name: "default", free, total: 100e9 }]);
  const cases: [Finding, Finding["status"], RegExp][] = [
    [judgeTopics(["a", "b"], []), "ok", /^a and b are set/],
    [judgeTopics(["a"], [{ topic: "a", change: "created with 4 partitions" }]), "trouble", /^a is missing$/],
    [
      judgeTopics(["a"], [{ topic: "a", change: "retention.ms 1 → 2" }]),
      "warning",
      /a: retention\.ms 1 → 2$/,
    ],
    [group(undefined, 0, 0), "trouble", /doesn't exist/],
    [group(0, 7, 3600), "trouble", /^group g has no member; t 7 behind \(the oldest 60 m old\)$/],
    [group(1, 7, 0), "ok", /^group g, 1 member; t 7 behind$/],
    [group(2, 7, 10), "warning", /2 members; t 7 behind \(the oldest 10 s old\)$/],
    [group(2, 7, 60), "trouble", /the oldest 60 s old/],
    [judgeMigrations("d", 2, { pending: [], problems: [] }), "ok", /^database d: all 2 applied$/],
    [judgeMigrations("d", 1, { pending: [migration], problems: [] }), "trouble", /^database d lacks 002_b$/],
    [judgeMigrations("d", 0, { pending: [migration], problems: [] }), "trouble", /^database d has none$/],
    [judgeMigrations("d", 2, { pending: [], problems: ["changed"] }), "trouble", /^changed$/],
    [fresh(3), "ok", /^A-B received 3 s ago, newest trade 5 s old$/],
    [fresh(20), "warning", /20 s ago/],
    [fresh(7200), "trouble", /2 h ago|120 m ago/],
    [
      judgeFreshness(["A-B", "C-D"], [{ productId: "A-B", received: 1, traded: undefined }]),
      "trouble",
      /^C-D has no data; A-B .*no trade/,
    ],
    [judgeGaps([], new Map(), 0, 10), "ok", /^no trade is missing$/],
    [gaps(9), "ok", /^no trade is missing$/],
    [gaps(12), "warning", /^1 gap, 10 trades missing for up to 12 s: A-B 10 to 19$/],
    [gaps(500), "trouble", /^1 gap, 10 trades missing for up to 8 m/],
    [
      gaps(500, [[10, 14]]),
      "trouble",
      /5 trades missing for up to 8 m: A-B 15 to 19; 5 trades are given up$/,
    ],
    [gaps(500, [[5, 14], [15, 30]]), "warning", /^10 trades are given up$/],
    [
      gaps(500, [], 9),
      "trouble",
      /^1 gap, 5 trades missing for up to 8 m: A-B 100 to 104; 10 trades are missing in 1 gaps of more than 9, .*: A-B 10 to 19$/,
    ],
    [gaps(500, [], 4), "warning", /^15 trades are missing in 2 gaps of more than 4, .*: A-B 10 to 19$/],
    [judgeCompleteness({ trades: 0, expected: 0, incompleteHours: 0 }), "ok", /no trades/],
    [judgeCompleteness({ trades: 9, expected: 9, incompleteHours: 0 }), "ok", /^100 % of the 9/],
    [
      judgeCompleteness({ trades: 999_999_999, expected: 1e9, incompleteHours: 1 }),
      "warning",
      /^99\.9999 % .*1 product-hours/,
    ],
    [judgeRejected([], 0), "ok", /none/],
    [
      judgeRejected([{ reason: "price: expected", rows: 3 }], 5),
      "warning",
      /^5 in the last 24 h: 3 × price: expected$/,
    ],
    [judgeEvents([]), "ok", /nothing/],
    [
      judgeEvents([{ event: "gap", count: 2 }, { event: "silent", count: 1 }]),
      "warning",
      /2 × gap, 1 × silent$/,
    ],
    [disk(50e9), "ok", /^default 50\.0 of 100\.0 GB free$/],
    [disk(10e9), "warning", /10\.0/],
    [disk(1e9), "trouble", /1\.0/],
    [judgeParts("trades", 10, 30), "ok", /^30 in all, 10 in the fullest partition \(trades\)$/],
    [judgeParts("trades", 300, 400), "warning", /300/],
    [judgeParts("trades", 1000, 1000), "trouble", /1000/],
  ];
  for (const [finding, status, found] of cases) {
    equal(finding.status, status, finding.found);
    match(finding.found, found);
    // Who is told of trouble is told what to do; a changed migration says it itself.
    if (status !== "ok" && finding.found !== "changed") equal(finding.advice !== "", true, finding.found);
  }
});
