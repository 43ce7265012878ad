import assert from "node:assert/strict";
import { createQueue } from "../core/queue.ts";
import { createLogger } from "../process/log.ts";
import { Connection, type FeedOptions, type Shared } from "./connection.ts";
import type { FeedItem } from "./feed_items.ts";
import { createTradeSequence } from "./sequence.ts";
import { pairsOf } from "./subscription.ts";

/** A socket that does what the test says. */
class FakeSocket {
  binaryType = "";
  readyState: number = WebSocket.CONNECTING;
  readonly sent: Record<string, unknown>[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onerror: ((event: { message: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.readyState = WebSocket.CLOSED;
  }
  open(): void {
    this.readyState = WebSocket.OPEN;
    this.onopen?.();
  }
  receive(message: Record<string, unknown>): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

function connect({ bufferBytes = 1e6, ...more }: Partial<FeedOptions> = {}) {
  const queue = createQueue<FeedItem>(bufferBytes);
  let count = 0;
  const shared: Shared = {
    queue,
    trades: createTradeSequence(),
    open: new Set(),
    nextConnection: () => `c${++count}`,
  };
  const stop = new AbortController();
  const make = () => {
    const socket = new FakeSocket();
    const connection = new Connection(pairsOf(["matches"], ["A-B", "C-D"]), {
      url: "ws://exchange",
      products: ["A-B", "C-D"],
      channels: ["matches"],
      productsPerConnection: 100,
      silenceMs: 60_000,
      bufferBytes,
      signal: stop.signal,
      log: createLogger({}, { write: () => {} }),
      openSocket: () => socket as unknown as WebSocket,
      ...more,
    }, shared);
    return { socket, connection };
  };
  const acknowledge = (socket: FakeSocket, products = ["A-B", "C-D"]) =>
    socket.receive({ type: "subscriptions", channels: [{ name: "matches", product_ids: products }] });
  /** What has happened so far: events with their product, frames with their type. */
  const happened = async () => {
    queue.end();
    const items = await Array.fromAsync(queue);
    return items.map((item) => `${item.kind === "frame" ? item.type : item.event} ${item.productId ?? "-"}`);
  };
  return { ...make(), make, shared, stop, acknowledge, happened };
}

const match = (product_id: string, trade_id: number) => ({ type: "match", product_id, trade_id });

Deno.test("connection: what comes is yielded in order, and its end is marked in each product", async () => {
  const { socket, connection, shared, acknowledge, happened } = connect();
  assert.deepEqual([...shared.open], [connection]);
  socket.open();
  assert.deepEqual(socket.sent.map(({ type }) => type), ["subscribe"]);
  acknowledge(socket);
  socket.receive(match("A-B", 7));
  socket.receive(match("A-B", 9));
  socket.onclose?.({ code: 1006, reason: "" });
  assert.deepEqual(await connection.ended, {
    connection: "c1",
    reason: "closed by the exchange: 1006",
    good: true,
    refused: false,
  });
  assert.deepEqual(shared.open.size, 0);
  assert.deepEqual(await happened(), [
    "connected -",
    "subscriptions -",
    "subscribed A-B",
    "subscribed C-D",
    "match A-B",
    // The event stands before the frame that showed it.
    "gap A-B",
    "match A-B",
    "disconnected A-B",
    "disconnected C-D",
  ]);
});

Deno.test("connection: one that never opens ends, and nothing says that it was there", async () => {
  const { connection, socket, happened } = connect({ answerMs: 20 });
  const { reason, good } = await connection.ended;
  assert.deepEqual([reason, good], ["no connection after 20 ms", false]);
  assert.equal(socket.readyState, WebSocket.CLOSED);
  assert.deepEqual(await happened(), []);
});

Deno.test("connection: what isn't acknowledged is asked for once more, each by itself, and then given up", async () => {
  const { connection, socket, acknowledge, happened, stop } = connect({ answerMs: 20 });
  socket.open();
  acknowledge(socket, ["A-B"]);
  while (connection.unacknowledged.length === 0) await new Promise((done) => setTimeout(done, 5));
  assert.deepEqual(connection.unacknowledged, [{ channel: "matches", productId: "C-D" }]);
  assert.equal(socket.sent.length, 2);
  assert.ok(connection.isAcknowledged);
  stop.abort();
  assert.equal((await connection.ended).reason, "the producer stops");
  assert.deepEqual((await happened()).slice(-2), ["not_acknowledged C-D", "disconnected A-B"]);
});

Deno.test("connection: when everything is refused it ends, and isn't to be opened again", async () => {
  const { connection, socket } = connect();
  socket.open();
  for (const product of ["A-B", "C-D"]) {
    socket.receive({
      type: "error",
      message: "Failed to subscribe",
      reason: `${product} is not a valid product`,
    });
  }
  const { refused, reason } = await connection.ended;
  assert.equal(refused, true);
  assert.match(reason, /C-D is not a valid product/);
});

Deno.test("connection: a full buffer ends all connections of the feed, and marks it once in each product", async () => {
  const { make, socket, connection, acknowledge, happened } = connect({ bufferBytes: 3000 });
  const other = make();
  for (const each of [socket, other.socket]) each.open();
  acknowledge(socket, ["A-B"]);
  acknowledge(other.socket, ["C-D"]);
  for (let id = 1; id < 20; id++) socket.receive(match("A-B", id));
  const reasons = await Promise.all([connection.ended, other.connection.ended]);
  assert.deepEqual(reasons.map(({ reason }) => reason), ["buffer full", "buffer full"]);
  const marks = (await happened()).filter((what) => /^(buffer_full|disconnected)/.test(what));
  assert.deepEqual(marks, ["buffer_full A-B", "disconnected A-B", "buffer_full C-D", "disconnected C-D"]);
});
