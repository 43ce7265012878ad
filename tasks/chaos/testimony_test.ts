import assert from "node:assert/strict";
import { type Ended, isOnRecord, type RecordedLoss, type Seen } from "./testimony.ts";

/** The first log ended at 1000 s; up to offset 50 of partition 0 was committed. */
const ended: Ended[] = [{ at: 1000e6, committed: new Map([["market/0", 50]]) }];
const seen = (log: number, partition: number, offset: number): Seen => [
  "tickers",
  log,
  "market",
  partition,
  offset,
  0,
];
const loss = (at: number, range: { first?: number; last?: number } = {}, partition = 0): RecordedLoss => ({
  topic: "market",
  partition,
  at: at * 1e6,
  ...range,
});
const tenToTwenty = { first: 10, last: 20 };

Deno.test("testimony: a loss covers the messages of its partition and its log that it names", () => {
  const cases: [what: string, message: Seen, loss: RecordedLoss, expected: boolean][] = [
    ["the first of it", seen(0, 0, 10), loss(900, tenToTwenty), true],
    ["the last of it", seen(0, 0, 20), loss(900, tenToTwenty), true],
    ["before it", seen(0, 0, 9), loss(900, tenToTwenty), false],
    ["behind it", seen(0, 0, 21), loss(900, tenToTwenty), false],
    ["another partition", seen(0, 1, 15), loss(900, tenToTwenty), false],
    ["told shortly after the log's end", seen(0, 0, 15), loss(1060, tenToTwenty), true],
    ["told of the next log", seen(0, 0, 15), loss(1061, tenToTwenty), false],
    ["told of the log before", seen(1, 0, 15), loss(999, tenToTwenty), false],
    ["of the log that is there still", seen(1, 0, 15), loss(5000, tenToTwenty), true],
  ];
  for (const [what, message, one, expected] of cases) {
    assert.equal(isOnRecord(message, [one], ended), expected, what);
  }
});

Deno.test("testimony: the end of a log covers what wasn't committed of it", () => {
  const cases: [what: string, message: Seen, loss: RecordedLoss, expected: boolean][] = [
    ["not committed", seen(0, 0, 50), loss(1500), true],
    ["committed", seen(0, 0, 49), loss(1500), false],
    ["never committed from that partition", seen(0, 1, 0), loss(1500, {}, 1), true],
    ["told before the log ended", seen(0, 0, 50), loss(999), false],
    ["its log hasn't ended", seen(1, 0, 50), loss(1500), false],
  ];
  for (const [what, message, one, expected] of cases) {
    assert.equal(isOnRecord(message, [one], ended), expected, what);
  }
  assert.equal(isOnRecord(seen(0, 0, 50), [], ended), false, "no loss");
});
