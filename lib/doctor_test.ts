import { deepEqual, equal, match } from "node:assert/strict";
import {
  type Check,
  type Finding,
  judgeCompleteness,
  judgeDisk,
  judgeEvents,
  judgeFreshness,
  judgeGroup,
  judgeHoles,
  judgeMigrations,
  judgeParts,
  judgeRejected,
  judgeTopics,
  NotChecked,
  ok,
  render,
  runChecks,
  trouble,
  warning,
} from "./doctor.ts";

const hangs = () => new Promise<Finding>(() => {});
const fails = (error: Error) => () => Promise.reject(error);

Deno.test("a check that hangs or throws is in trouble by itself, and who needs it isn't checked", async () => {
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

Deno.test("what is found is judged", () => {
  const group = (members: number | undefined, messages: number, atLeastSeconds: number) =>
    judgeGroup("g", members, [{ topic: "t", messages, atLeastSeconds }]);
  const migration = { name: "002_b", checksum: "", statements: [] };
  const fresh = (received: number) => judgeFreshness(["A-B"], [{ productId: "A-B", received, traded: 5 }]);
  const hole = { productId: "A-B", first: 10, last: 19, seenAt: 0, before: "" };
  const holes = (seconds: number, givenUp: [number, number][] = []) =>
    judgeHoles([hole], new Map([["A-B", givenUp.map(([first, last]) => ({ first, last }))]]), seconds * 1e6);
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
    [group(0, 7, 3600), "trouble", /^group g has no member; t 7 behind \(over 60 m old\)$/],
    [group(1, 7, 0), "ok", /^group g, 1 member; t 7 behind$/],
    [group(2, 7, 10), "warning", /2 members; t 7 behind \(over 10 s old\)$/],
    [group(2, 7, 60), "trouble", /over 60 s/],
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
    [judgeHoles([], new Map(), 0), "ok", /^no trade is missing$/],
    [holes(9), "ok", /^no trade is missing$/],
    [holes(12), "warning", /^1 hole, 10 trades missing for up to 12 s: A-B 10 to 19$/],
    [holes(500), "trouble", /^1 hole, 10 trades missing for up to 8 m/],
    [
      holes(500, [[10, 14]]),
      "trouble",
      /5 trades missing for up to 8 m: A-B 15 to 19; 5 trades are given up$/,
    ],
    [holes(500, [[5, 14], [15, 30]]), "warning", /^10 trades are given up$/],
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
