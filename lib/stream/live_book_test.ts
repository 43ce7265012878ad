import assert from "node:assert/strict";
import type { ClickHouseClient } from "@clickhouse/client";
import { createLogger } from "../process/log.ts";
import { Hub } from "./hub.ts";
import { LiveBook } from "./live_book.ts";
import type { StoredBook } from "./snapshots.ts";

/** A book of A-B at depth 1, over a ClickHouse that knows none, or `stored`. */
function setUp(stored?: StoredBook) {
  const hub = new Hub({ messages: 10, length: 1e6, ms: 1e9, computed: { messages: 1000, length: 1e6 } });
  // While somebody listens, messages are remembered.
  hub.join("others", { deliver() {} });
  let reads = 0;
  const live = new LiveBook({
    hub,
    clickhouse: {} as ClickHouseClient,
    log: createLogger({}, { write: () => {} }),
    readSnapshot: <T>() => {
      reads++;
      return stored ? Promise.resolve(stored as T) : Promise.reject(new Error("no ClickHouse here"));
    },
  });
  let offset = 0;
  const topic = { channel: "book", productId: "A-B", depth: 1 } as const;
  return {
    live,
    topic,
    reads: () => reads,
    /** What a client would be told now: the best bid, or why there is no book. */
    now: () =>
      live.snapshot(topic).map(({ fields }) => {
        const { bids, reason } = fields as { bids?: string[][]; reason?: string };
        return reason ?? `${bids}`;
      }).join(),
    handle(message: object, connection = "c-1") {
      live.handle({
        topic: "level2",
        partition: 0,
        offset: offset++,
        key: "A-B",
        value: new TextEncoder().encode(JSON.stringify(message)),
        receivedAt: 1_783_465_000_000_000 + offset,
        source: "feed",
        connection,
      });
    },
    heard: () =>
      hub.after(0, new Set(["book A-B 1"]), 1e9).texts.map((text) => JSON.parse(text)).map(
        ({ type, bids, reason }) => type === "book_invalid" ? `${type}: ${reason}` : `${type} ${bids}`,
      ),
  };
}

const snapshot = (price: string) => ({
  type: "snapshot",
  product_id: "A-B",
  bids: [[price, "1"]],
  asks: [["200", "1"]],
});
const update = (price: string) => ({
  type: "l2update",
  product_id: "A-B",
  time: "2026-07-07T10:00:00.000000Z",
  changes: [["buy", price, "1"]],
});

Deno.test("stream: a book that lost a frame isn't shown again before its next snapshot", () => {
  const { live, topic, handle, heard } = setUp();
  try {
    live.open(topic, "one");
    handle(snapshot("100"));
    live.lose("c-1", "A-B", "a frame was too large");
    handle(update("101"));
    assert.deepEqual(live.snapshot(topic).map(({ type }) => type), ["book_invalid"]);
    handle(snapshot("102"));
    assert.deepEqual(heard(), [
      "book_snapshot 100,1",
      "book_invalid: a frame was too large",
      "book_snapshot 102,1",
    ]);
    // Another connection's loss, or another product's, is none of this book's.
    live.lose("c-2", "A-B", "another connection");
    live.lose("c-1", "C-D", "another product");
    live.endConnection("c-2", "another connection");
    assert.equal(heard().length, 3);
    live.restart("3 messages were missed");
    assert.equal(heard().at(-1), "book_invalid: 3 messages were missed");
  } finally {
    live.stop();
  }
});

Deno.test("stream: a book that is followed after its connection lost a frame begins with the next snapshot", () => {
  const { live, topic, handle, now } = setUp();
  const follow = () => {
    live.open(topic, "one");
    const said = now();
    for (const { drop } of live.idle()) drop();
    return said;
  };
  try {
    handle(snapshot("100"));
    assert.equal(follow(), "100,1");
    live.lose("c-1", "A-B", "a frame was too large");
    handle(update("101"));
    assert.equal(follow(), "the book isn't known yet");
    // A snapshot mends it, whether somebody follows the book just then or nobody does.
    handle(snapshot("102"));
    assert.equal(follow(), "102,1");
    live.lose("c-1", "A-B", "a frame was too large");
    live.open(topic, "one");
    handle(snapshot("103"));
    for (const { drop } of live.idle()) drop();
    assert.equal(follow(), "103,1");
  } finally {
    live.stop();
  }
});

Deno.test("stream: a stored book goes on with the live updates, unless its connection lost a frame", async () => {
  for (const isLost of [false, true]) {
    const { live, topic, handle, now } = setUp({
      connection: "c-1",
      offset: 0,
      time: 1_783_465_000_000_000,
      bids: [["100", "1"]],
      asks: [["200", "1"]],
    });
    try {
      handle(update("99"));
      handle(update("101"));
      if (isLost) live.lose("c-1", "A-B", "a frame was too large");
      live.open(topic, "one");
      await new Promise((resolve) => setTimeout(resolve));
      assert.equal(now(), isLost ? "no connection has a book now: waiting for the next snapshot" : "101,1");
    } finally {
      live.stop();
    }
  }
});

Deno.test("stream: a book that nobody follows is idle, unless somebody is about to, and can be let go of", () => {
  const { live, topic, handle } = setUp();
  try {
    live.open(topic, "one");
    live.open({ ...topic, depth: 5 }, "one");
    handle(snapshot("100"));
    assert.equal(live.size, 2);
    const release = live.hold(topic);
    assert.equal(live.idle().length, 1);
    release();
    const idle = live.idle();
    assert.equal(idle.length, 2);
    idle[0]!.drop();
    assert.deepEqual([live.size, live.has(topic)], [1, false]);
    idle[1]!.drop();
    assert.equal(live.size, 0);
  } finally {
    live.stop();
  }
});
