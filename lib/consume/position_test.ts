import assert from "node:assert/strict";
import type { Committed } from "../kafka/offsets.ts";
import type { LogRange } from "../kafka/log_range.ts";
import { findPosition } from "./position.ts";

const cases: [name: string, Committed, LogRange, hasRows: boolean, ReturnType<typeof findPosition>][] = [
  [
    "an empty database and a group without commits read all, and ask for nothing",
    { offset: -1 },
    { low: 3, high: 9 },
    false,
    { logName: "new", isNew: true, next: 3, askBelow: 3 },
  ],
  [
    "a group without commits beside a database with rows asks for all that is there now",
    { offset: -1 },
    { low: 3, high: 9 },
    true,
    { logName: "new", isNew: true, next: 3, askBelow: 9 },
  ],
  [
    "kafkajs' own reset (-2) is no commit",
    { offset: -2 },
    { low: 0, high: 9 },
    true,
    { logName: "new", isNew: true, next: 0, askBelow: 9 },
  ],
  [
    "a group that somebody moved asks for all behind that place",
    { offset: 5 },
    { low: 3, high: 9 },
    false,
    { logName: "new", isNew: true, next: 5, askBelow: 9 },
  ],
  [
    "a finished batch: on it goes",
    { offset: 5, log: "a", before: 77 },
    { low: 3, high: 9 },
    true,
    { logName: "a", isNew: false, next: 5, askBelow: 5, before: 77 },
  ],
  [
    "a batch in flight is asked for",
    { offset: 5, log: "a", before: 77, inflight: { first: 5, last: 7 } },
    { low: 3, high: 9 },
    true,
    { logName: "a", isNew: false, next: 5, askBelow: 8, before: 77, inflight: { first: 5, last: 7 } },
  ],
  [
    "all was read: the place is the log's end",
    { offset: 9, log: "a", before: 77 },
    { low: 9, high: 9 },
    true,
    { logName: "a", isNew: false, next: 9, askBelow: 9, before: 77 },
  ],
  [
    "retention has overtaken the group",
    { offset: 5, log: "a", before: 77 },
    { low: 8, high: 20 },
    true,
    { logName: "a", isNew: false, next: 8, askBelow: 8, lost: { first: 5, last: 7 } },
  ],
  [
    "retention has taken a part of the batch in flight",
    { offset: 5, log: "a", inflight: { first: 5, last: 12 } },
    { low: 8, high: 20 },
    true,
    {
      logName: "a",
      isNew: false,
      next: 8,
      askBelow: 13,
      inflight: { first: 8, last: 12 },
      lost: { first: 5, last: 7 },
    },
  ],
  [
    "retention has taken the whole batch in flight",
    { offset: 5, log: "a", inflight: { first: 5, last: 7 } },
    { low: 8, high: 20 },
    true,
    { logName: "a", isNew: false, next: 8, askBelow: 8, lost: { first: 5, last: 7 } },
  ],
  [
    "what has to be asked for stays that after the first batch",
    { offset: 5, log: "a", before: 77, ask: 8 },
    { low: 3, high: 9 },
    true,
    { logName: "a", isNew: false, next: 5, askBelow: 8, before: 77 },
  ],
  [
    "whatever is asked for, no row of a message to come is stored",
    { offset: 0, log: "a", ask: 1e15 },
    { low: 0, high: 9 },
    true,
    { logName: "a", isNew: false, next: 0, askBelow: 9 },
  ],
  [
    "a time from which rows are suspected to be gone is handed on",
    { offset: 5, log: "a", before: 77, inflight: { first: 5, last: 7 }, suspect: 33 },
    { low: 3, high: 9 },
    true,
    {
      logName: "a",
      isNew: false,
      next: 5,
      askBelow: 8,
      before: 77,
      inflight: { first: 5, last: 7 },
      suspect: 33,
    },
  ],
  [
    "a place beyond the log's end is no place",
    { offset: 10, log: "a" },
    { low: 0, high: 9 },
    true,
    { committed: 10, high: 9 },
  ],
];

for (const [name, committed, range, hasRows, expected] of cases) {
  Deno.test(`findPosition(): ${name}`, () => {
    assert.deepEqual(findPosition(committed, range, { newLog: "new", hasRows }), expected);
  });
}
