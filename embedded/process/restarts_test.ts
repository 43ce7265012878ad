import assert from "node:assert/strict";
import { afterEnd, type End, type History, lastErrors, noHistory, type Verdict } from "./restarts.ts";

const killed = { code: 137, signal: "SIGKILL" as const };
const failed = { code: 1, signal: null };
const wrong = { code: 2, signal: null };
const crashed = { code: 134, signal: "SIGABRT" as const };

const beforeReady = (status: End["status"]): End => ({ ready: false, ranMs: 0, status });
const ran = (ranMs: number, status: End["status"] = killed): End => ({ ready: true, ranMs, status });
const times = (count: number, end: End): End[] => Array(count).fill(end);

/** The verdicts of a life story, told in short: a pause in ms, or why it is given up. */
function story(ends: readonly End[]): (number | string)[] {
  let history: History = noHistory;
  return ends.map((end) => {
    let verdict: Verdict;
    ({ history, verdict } = afterEnd(history, end));
    return "giveUp" in verdict ? verdict.giveUp : verdict.restartAfterMs;
  });
}

Deno.test("restarts: what a process's ends lead to", () => {
  const never = "it never came up";
  const configuration = "its configuration is wrong";
  const cases: [string, End[], (number | string)[]][] = [
    ["killed after a good run: at once", [ran(60_000)], [0]],
    ["killed once and again after good runs: at once each time", times(3, ran(10_000)), [0, 0, 0]],
    ["three kills within a second", [ran(300), ran(300), ran(300)], [0, 250, 500]],
    ["kills before it was ready again", [ran(60_000), ...times(3, beforeReady(killed))], [0, 250, 500, 1000]],
    ["a good run ends the pauses", [ran(100), ran(100), ran(100), ran(9999), ran(10_000)], [
      0,
      250,
      500,
      1000,
      0,
    ]],
    ["pauses grow to five seconds and stay there", times(11, ran(0)), [
      0,
      250,
      500,
      1000,
      2000,
      4000,
      5000,
      5000,
      5000,
      5000,
      5000,
    ]],
    ["the first start fails by itself", times(5, beforeReady(failed)), [0, 250, 500, 1000, never]],
    ["it crashes at the first start", times(5, beforeReady(crashed)), [0, 250, 500, 1000, never]],
    ["it isn't ready in time at the first start", times(5, beforeReady(undefined)), [
      0,
      250,
      500,
      1000,
      never,
    ]],
    ["killed during its first start", times(6, beforeReady(killed)), [0, 250, 500, 1000, 2000, 4000]],
    ["Java, told to stop during its first start", times(6, beforeReady({ code: 143, signal: null })), [
      0,
      250,
      500,
      1000,
      2000,
      4000,
    ]],
    ["kills between failed starts", [
      ...times(4, beforeReady(failed)),
      beforeReady(killed),
      beforeReady(failed),
    ], [0, 250, 500, 1000, 2000, never]],
    ["what came up once is never given up", [ran(0), ...times(7, beforeReady(failed))], [
      0,
      250,
      500,
      1000,
      2000,
      4000,
      5000,
      5000,
    ]],
    ["exit code 2 at the first start", [beforeReady(wrong)], [configuration]],
    ["exit code 2 after years", [ran(1e12, wrong)], [configuration]],
    ["exit code 2 when it is started again", [ran(60_000), beforeReady(wrong)], [0, configuration]],
    ["an exit code 0 that nobody asked for", [ran(60_000, { code: 0, signal: null })], [0]],
  ];
  for (const [what, ends, expected] of cases) assert.deepEqual(story(ends), expected, what);
});

Deno.test("restarts: however often it ends, the pause stays a number of milliseconds", () => {
  const pauses = story(times(5000, ran(0)));
  assert.ok(pauses.every((pause) => typeof pause === "number" && pause >= 0 && pause <= 5000));
});

Deno.test("restarts: what a log says of a wrong configuration", () => {
  const line = (level: string, message: string) => JSON.stringify({ level, message, service: "api" });
  assert.equal(
    lastErrors(`${line("info", "started")}\n${line("error", "API_PORT=x: expected a whole number")}\n`),
    "API_PORT=x: expected a whole number",
  );
  assert.equal(
    lastErrors(`${line("error", "A=1: expected b")}\n${line("error", "C=1: expected d")}\n`),
    "A=1: expected b; C=1: expected d",
  );
  assert.equal(lastErrors("Usage: kafka\nerror: unknown option"), "error: unknown option");
  assert.equal(lastErrors(""), "");
});
