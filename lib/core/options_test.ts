import { InvalidArgumentError } from "@commander-js/extra-typings";
import assert from "node:assert/strict";
import { duration, longDuration, moment, positiveNumber, speed, wholeNumber } from "./options.ts";

Deno.test("options: a text is a number, a time or a duration, or the error says what was expected", () => {
  const cases: [(text: string) => number, good: Record<string, number>, bad: string[], RegExp][] = [
    [
      wholeNumber(1, 20),
      { "1": 1, "20": 20 },
      ["0", "21", "-1", "1.5", "1e1", "0x2", "x", ""],
      /from 1 to 20\.$/,
    ],
    [positiveNumber, { "2": 2, "0.5": 0.5 }, ["0", "-1", "max", "x", ""], /^Expected a positive number\.$/],
    [speed, { "2": 2, max: Infinity }, ["0", "-1", "Infinity", "1e999", "x", ""], /or max\.$/],
    [
      duration,
      { "500ms": 500, "30s": 30_000, "2h": 7_200_000 },
      ["soon", "-1s", ""],
      /such as 30s, 5m or 2h\.$/,
    ],
    [longDuration, { "1s": 1000, "5m": 300_000 }, ["500ms", "soon", ""], /of at least a second, such as /],
    [
      moment,
      { "1970-01-02": 86_400e6, "1970-01-01T00:01Z": 60e6 },
      ["1970-02-30", "yesterday", ""],
      /a date or a time/,
    ],
  ];
  for (const [parse, good, bad, message] of cases) {
    for (const [text, value] of Object.entries(good)) assert.equal(parse(text), value, text);
    for (const text of bad) {
      assert.throws(() => parse(text), (error) => {
        assert(error instanceof InvalidArgumentError);
        assert.match(error.message, message);
        return true;
      }, text);
    }
  }
});
