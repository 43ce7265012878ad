import assert from "node:assert/strict";
import type { TopicMessage } from "../kafka/message.ts";
import { createLogger } from "../process/log.ts";
import type { Batch } from "./batch.ts";
import { CommittedPosition, type PartitionContext } from "./committed_position.ts";
import { PartitionWriter } from "./partition_writer.ts";

type Offsets = number[];

/** A writer whose broker and handler are the test's. */
function paperWriter({ flushMs = 20, maxSize = 100 } = {}) {
  const commits: string[] = [];
  const written: Batch<Offsets>[] = [];
  const failures: unknown[] = [];
  /** Batches go on when this resolves. */
  let gate = Promise.resolve();
  let refuse: Error | undefined;
  let meanwhile: (inflight?: number[]) => unknown = () => {};
  const context = {
    topic: "t",
    partition: 0,
    signal: new AbortController().signal,
    memory: { verifiedAt: 0 },
    options: {
      content: {
        start: () => [],
        add: (content: Offsets, { offset }: TopicMessage) => content.push(offset),
      },
      maxSize,
      flushMs,
      store: { restarts: 0 },
      signal: new AbortController().signal,
      log: createLogger({}, { level: "error" }),
    },
    async handler(batch: Batch<Offsets>) {
      await batch.begin();
      await gate;
      written.push(batch);
      await batch.commit({ missing: 0 });
    },
    group: {
      heartbeat: () => Promise.resolve(),
      async commit(
        { topics: [topic] }: { topics: { partitions: { offset: string; metadata: string }[] }[] },
      ) {
        if (refuse !== undefined) throw refuse;
        const { offset, metadata } = topic!.partitions[0]!;
        const { inflight, before } = JSON.parse(metadata);
        meanwhile(inflight);
        // A broker takes its time.
        await new Promise((resolve) => setTimeout(resolve, 1));
        commits.push(`${offset}${inflight ? ` in flight ${inflight.join("-")}` : ""} before ${before}`);
      },
    },
    reopen: () => Promise.resolve(),
    handOver() {},
    fail: (error: unknown) => failures.push(error),
  } as unknown as PartitionContext<Offsets>;
  const position = { logName: "log", isNew: false, next: 0, askBelow: 0 };
  const writer = new PartitionWriter(context, new CommittedPosition(context, position, 0), () => {
    throw new Error("nothing here was committed before");
  });
  return {
    writer,
    commits,
    failures,
    ranges: () => written.map(({ range: { first, last } }) => `${first}-${last}`),
    /** A fetch of messages, each received at its offset. */
    read(first: number, last: number) {
      for (let offset = first; offset <= last; offset++) {
        writer.gather({ offset, receivedAt: offset } as TopicMessage, 0);
      }
      writer.write();
    },
    close() {
      const { promise, resolve } = Promise.withResolvers<void>();
      gate = promise;
      return resolve;
    },
    refuse: (error: Error) => refuse = error,
    /** Called while a commit is under way. */
    meanwhile: (call: typeof meanwhile) => meanwhile = call,
  };
}

Deno.test("PartitionWriter: what comes while a batch is written is the next batch, and one commit is both's", async () => {
  const { writer, read, close, commits, ranges } = paperWriter();
  const open = close();
  read(0, 4);
  while (commits.length < 1) await new Promise((resolve) => setTimeout(resolve, 1));
  read(5, 6);
  read(7, 9);
  open();
  while (ranges().length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  await writer.drain();
  assert.deepEqual(ranges(), ["0-4", "5-9"]);
  assert.deepEqual(commits, [
    "0 in flight 0-4 before undefined",
    "5 in flight 5-9 before 4",
    "10 before 9",
  ]);
});

Deno.test("PartitionWriter: a batch that nothing follows is committed by itself", async () => {
  const { writer, read, commits } = paperWriter({ flushMs: 5 });
  read(0, 0);
  while (writer.isWriting) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(commits, ["0 in flight 0-0 before undefined", "1 before 0"]);
});

Deno.test("PartitionWriter: a full batch doesn't wait for its time, and reading waits for it", async () => {
  const { writer, read, close, ranges } = paperWriter({ flushMs: 60_000, maxSize: 3 });
  const open = close();
  read(0, 2);
  await writer.waitForRoom();
  read(3, 5);
  let isRoom = false;
  const room = writer.waitForRoom().then(() => isRoom = true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(isRoom, false);
  open();
  await room;
  await writer.drain();
  assert.deepEqual(ranges(), ["0-2", "3-5"]);
});

Deno.test("PartitionWriter: what comes while the last commit is under way is written too", async () => {
  const { writer, read, ranges, meanwhile } = paperWriter({ flushMs: 1 });
  meanwhile((inflight) => inflight === undefined && ranges().length === 1 && read(1, 2));
  read(0, 0);
  // Who drains waits for that as well.
  await writer.drain();
  assert.equal(writer.isWriting, false);
  assert.deepEqual(ranges(), ["0-0", "1-2"]);
});

Deno.test("PartitionWriter: a commit that is refused ends it, and what isn't committed is left to be read again", async () => {
  const { writer, read, refuse, failures, ranges } = paperWriter();
  refuse(new Error("rebalance"));
  read(0, 3);
  while (writer.isWriting) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(failures.map(String), ["Error: rebalance"]);
  assert.equal(writer.isClosed, true);
  assert.deepEqual(ranges(), []);
});
