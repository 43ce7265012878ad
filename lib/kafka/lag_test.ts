import assert from "node:assert/strict";
import { findReceivedAt, messagesBehind, partitionLags, retentionLeft } from "./lag.ts";

Deno.test("lag: what lies between the committed offset and the end", () => {
  const ends = [{ partition: 0, high: "100", low: "0" }, { partition: 1, high: "50", low: "20" }];
  const lag = (...offsets: string[]) =>
    partitionLags("t", ends, offsets.map((offset, partition) => ({ partition, offset }))).map(messagesBehind);
  assert.deepEqual(lag("90", "50"), [10, 0]);
  // Nothing committed: from the oldest that is there.
  assert.deepEqual(lag("100", "-1"), [0, 30]);
  assert.deepEqual(lag(), [100, 30]);
  // The retention has overtaken the group.
  assert.deepEqual(lag("100", "5"), [0, 30]);
  // A topic made anew has less than was committed.
  assert.deepEqual(lag("1000", "50"), [0, 0]);
});

/** A broker with messages received at `times` (ms), ascending; counts the questions. */
function broker(partitions: Record<number, number[]>) {
  const asked: number[] = [];
  const offsetsAt = (ms: number) => {
    asked.push(ms);
    return Promise.resolve(
      new Map(
        Object.entries(partitions).map(([partition, times]) => {
          const found = times.findIndex((time) => time >= ms);
          return [Number(partition), found === -1 ? times.length : found];
        }),
      ),
    );
  };
  return { asked, offsetsAt };
}

Deno.test("lag: the age of a message that nobody has read is found by asking for times", async () => {
  const now = 1_800_000_000_000;
  const ages = [9 * 86_400_000, 6 * 3_600_000, 600_000, 45_000, 5000, 1200, 300, 10];
  for (const [index, age] of ages.entries()) {
    const { asked, offsetsAt } = broker({ 3: ages.map((ms) => now - ms) });
    const found = (await findReceivedAt(offsetsAt, new Map([[3, index]]), now)).get(3)!;
    const early = now - age - found;
    assert.ok(early >= 0 && early <= Math.max(1000, age * 0.03), `${age} ms: early by ${early} ms`);
    assert.ok(asked.length <= 40, `${asked.length} questions`);
  }
});

Deno.test("lag: ages of several partitions come from the same questions, unknown partitions are left out", async () => {
  const now = 1_800_000_000_000;
  const { asked, offsetsAt } = broker({ 0: [now - 90_000, now - 10], 1: [now - 3000], 2: [] });
  const found = await findReceivedAt(offsetsAt, new Map([[0, 0], [1, 0], [7, 3]]), now);
  assert.deepEqual([...found.keys()], [0, 1]);
  assert.ok(Math.abs(now - 90_000 - found.get(0)!) <= 2700, String(found.get(0)));
  assert.ok(Math.abs(now - 3000 - found.get(1)!) <= 1000, String(found.get(1)));
  assert.ok(asked.length < 20, `${asked.length} questions`);
  assert.deepEqual(await findReceivedAt(offsetsAt, new Map(), now), new Map());
});

Deno.test("lag: retention left is what the tighter limit leaves, from below", () => {
  const hour = 3_600_000;
  const place = (start: number, next: number) => ({ start, next });
  assert.equal(retentionLeft(place(0, 10), { ms: hour, bytes: -1 }, 600, 5), 3000);
  assert.equal(retentionLeft(place(0, 10), { ms: hour, bytes: -1 }, 4000, 5), -400);
  assert.equal(retentionLeft(place(0, 10), { ms: -1, bytes: -1 }, 4000, 5), Infinity);
  // 900 messages before ours are deleted at 5 a second.
  assert.equal(retentionLeft(place(100, 1000), { ms: hour, bytes: 1e9 }, 600, 5), 180);
  assert.equal(retentionLeft(place(100, 1000), { ms: hour, bytes: 1e9 }, 3590, 5), 10);
  // Nothing was deleted yet, or nothing comes: the size doesn't say.
  assert.equal(retentionLeft(place(0, 1000), { ms: hour, bytes: 1e9 }, 600, 5), 3000);
  assert.equal(retentionLeft(place(100, 1000), { ms: hour, bytes: 1e9 }, 600, 0), 3000);
});
