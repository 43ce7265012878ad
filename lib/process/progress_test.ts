import { deepEqual, equal } from "node:assert/strict";
import { bar, createProgressLine } from "./progress.ts";

function shown(terminal: boolean): string[] {
  const written: string[] = [];
  let ms = 0;
  const line = createProgressLine({ terminal, now: () => ms, write: (text) => written.push(text) });
  for (; ms <= 20_000; ms += 100) line.show(() => `${ms} ms`);
  line.end();
  return written;
}

Deno.test("progress: a terminal has one line that changes, a log one line in ten seconds", () => {
  const lines = shown(true);
  equal(lines.length, 101);
  deepEqual([lines[0], lines.at(-1)], ["\r\x1b[K200 ms", "\n"]);
  deepEqual(shown(false), ["10000 ms\n", "20000 ms\n"]);
});

Deno.test("progress: a bar is full only when all is done", () => {
  equal(bar(0), "[                    ]   0 %");
  equal(bar(0.999), "[################### ]  99 %");
  equal(bar(1.1), "[####################] 100 %");
});
