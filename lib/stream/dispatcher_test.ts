import assert from "node:assert/strict";
import { Hub } from "./hub.ts";
import { Dispatcher } from "./dispatcher.ts";

/** A dispatcher, what it publishes under a key, and what it tells candles and books. */
function setUp() {
  const hub = new Hub({ messages: 1000, length: 1e6, ms: 1e9, computed: { messages: 1, length: 1 } });
  // While somebody listens, messages are remembered.
  hub.join("others", { deliver() {} });
  const told: unknown[][] = [];
  const note = (name: string) => (...values: unknown[]) => void told.push([name, ...values]);
  const candles = { add: note("add"), advance: note("advance") };
  const book = { lose: note("lose"), endConnection: note("end") };
  const dispatcher = new Dispatcher(hub, () => ({ candles, book }));
  let offset = 0;
  return {
    dispatcher,
    told,
    handle(message: object, connection = "c-1") {
      dispatcher.handle({
        topic: "t",
        partition: 0,
        offset: offset++,
        key: "A-B",
        value: new TextEncoder().encode(JSON.stringify(message)),
        receivedAt: 1_783_465_000_000_000 + offset,
        source: "feed",
        connection,
      });
    },
    heard: (key: string) => hub.after(0, new Set([key]), 1e9).texts.map((text) => JSON.parse(text)),
  };
}

const ticker = (sequence: number, time: string, price = "1") => ({
  type: "ticker",
  sequence,
  product_id: "A-B",
  price,
  time,
});
const at = (second: number) => `2026-07-07T10:00:${String(second).padStart(2, "0")}.000000Z`;

Deno.test("stream: the tickers of two producers are heard once, by sequence", () => {
  const { handle, heard, dispatcher } = setUp();
  handle(ticker(1, at(1)), "main");
  handle(ticker(1, at(1)), "spare");
  handle(ticker(2, at(2)), "spare");
  handle(ticker(2, at(2)), "main");
  // The slower of the two is behind.
  handle(ticker(1, at(1)), "main");
  handle(ticker(3, at(3)), "main");
  assert.deepEqual(heard("ticker A-B").map(({ sequence }) => sequence), [1, 2, 3]);
  assert.equal((dispatcher.lastTicker("A-B") as { sequence: number }).sequence, 3);
});

Deno.test("stream: two tickers of one moment are two", () => {
  const { handle, heard } = setUp();
  handle(ticker(1, at(1)));
  handle(ticker(2, at(1), "2"));
  assert.deepEqual(heard("ticker A-B").map(({ price }) => price), ["1", "2"]);
});

Deno.test("stream: an exchange that numbers its tickers anew, at a later time, is heard on", () => {
  const { handle, heard } = setUp();
  handle(ticker(900, at(1)));
  handle(ticker(5, at(2)));
  handle(ticker(6, at(3)));
  assert.deepEqual(heard("ticker A-B").map(({ sequence }) => sequence), [900, 5, 6]);
});

Deno.test("stream: the heartbeats of two producers are heard once, by time, and only they move the clock", () => {
  const { handle, heard, told, dispatcher } = setUp();
  const heartbeat = (second: number) => ({
    type: "heartbeat",
    sequence: 1,
    last_trade_id: 7,
    product_id: "A-B",
    time: at(second),
  });
  for (const second of [1, 1, 2, 1, 2, 3]) handle(heartbeat(second));
  assert.deepEqual(heard("heartbeat A-B").map(({ time }) => time), [at(1), at(2), at(3)]);
  assert.equal(told.filter(([name]) => name === "advance").length, 3);
  assert.equal(dispatcher.clock("A-B"), Date.parse(at(3)) * 1000);
});

Deno.test("stream: a frame of the book that was too large ends its book, other frames don't", () => {
  const { handle, told } = setUp();
  const tooLarge = (type?: string, product_id?: string) => ({
    type: "feed_event",
    event: "frame_too_large",
    time: at(1),
    reason: "9 MB",
    ...(product_id && { product_id }),
    ...(type && { details: { type } }),
  });
  handle(tooLarge("l2update", "A-B"));
  handle(tooLarge("snapshot", "C-D"), "c-2");
  handle(tooLarge("status", "A-B"));
  handle(tooLarge("l2update"));
  handle(tooLarge());
  assert.deepEqual(told, [["lose", "c-1", "A-B", "9 MB"], ["lose", "c-2", "C-D", "9 MB"]]);
  handle({ type: "feed_event", event: "disconnected", time: at(2), reason: "bye" });
  assert.deepEqual(told.at(-1), ["end", "c-1", "the connection has ended: bye"]);
});
