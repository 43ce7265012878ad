/**
 * The feed over real sockets, against the simulated exchange and its faults: what a reader of the events sees.
 *
 * @module
 */

import assert from "node:assert/strict";
import { startExchange } from "../lib/coinbase/exchange/server.ts";
import { createSimulation } from "../lib/coinbase/exchange/simulation.ts";
import { type FeedEvent, type FeedOptions, type Notice, openFeed } from "../lib/coinbase/feed.ts";
import { createLogger } from "../lib/log.ts";

/** Opens a feed on a fresh exchange; ends both when `body` returns. */
async function withFeed(
  options: Partial<FeedOptions>,
  body: (
    events: AsyncIterator<FeedEvent>,
    exchange: Awaited<ReturnType<typeof startExchange>>,
    stop: AbortController,
  ) => Promise<void>,
): Promise<void> {
  const exchange = await startExchange({ source: createSimulation({ rate: 300 }), record: true });
  const stop = new AbortController();
  const feed = openFeed({
    url: exchange.wsUrl,
    products: ["BTC-USD", "ETH-USD"],
    channels: ["ticker", "matches", "heartbeat", "level2_batch", "status"],
    productsPerConnection: 50,
    silenceMs: 60_000,
    bufferBytes: 64 * 1024 * 1024,
    signal: stop.signal,
    log: createLogger({}, { write: () => {} }),
    answerMs: 5000,
    reconnectMs: 10,
    ...options,
  });
  const events = feed[Symbol.asyncIterator]();
  try {
    await body(events, exchange, stop);
  } finally {
    stop.abort();
    await exchange.stop();
    // What was on its way; the iterator ends when the connections have.
    while (!(await events.next().catch(() => ({ done: true }))).done);
  }
}

/** Reads until a notice of this event comes; returns it and what came before. */
async function until(
  events: AsyncIterator<FeedEvent>,
  event: Notice["event"],
): Promise<{ notice: Notice; before: FeedEvent[] }> {
  const before: FeedEvent[] = [];
  while (true) {
    const next = await events.next();
    if (next.done) return assert.fail(`the feed ended before ${event}`);
    if (next.value.kind === "notice" && next.value.event === event) return { notice: next.value, before };
    before.push(next.value);
  }
}

const isTrade = (event: FeedEvent) => event.kind === "frame" && event.type === "match";

/** Reads until so many trades have come; returns the last one. */
async function untilTrades(events: AsyncIterator<FeedEvent>, count: number): Promise<FeedEvent> {
  for (let seen = 0;;) {
    const { value, done } = await events.next();
    assert.ok(!done, "the feed ended");
    if (isTrade(value) && ++seen === count) return value;
  }
}

Deno.test("frames come untouched, in order, stamped in microseconds", () =>
  withFeed({}, async (events, exchange) => {
    const frames: Extract<FeedEvent, { kind: "frame" }>[] = [];
    while (frames.filter(isTrade).length < 500) {
      const { value } = await events.next();
      if (value.kind === "frame" && value.type !== "subscriptions") frames.push(value);
    }
    assert.deepEqual(frames.map(({ data }) => data), exchange.ledger.frames.slice(0, frames.length));
    const now = Date.now() * 1000;
    for (const { receivedAt, connection } of frames) {
      assert.ok(Number.isSafeInteger(receivedAt) && Math.abs(now - receivedAt) < 120e6, `${receivedAt}`);
      assert.match(connection, /^[0-9a-f]{8}-1$/);
    }
    const types = new Set(frames.map(({ type }) => type));
    assert.deepEqual(
      [...types].sort(),
      ["heartbeat", "l2update", "last_match", "match", "snapshot", "status", "ticker"],
    );
  }));

Deno.test("a connection's life is told: connected, subscribed by product, disconnected with reason, and again", () =>
  withFeed({}, async (events, exchange) => {
    const { notice: connected } = await until(events, "connected");
    const { notice: first } = await until(events, "subscribed");
    const { notice: second } = await until(events, "subscribed");
    assert.deepEqual([first.productId, second.productId].sort(), ["BTC-USD", "ETH-USD"]);
    assert.deepEqual(first.details, { channels: ["ticker", "matches", "heartbeat", "level2_batch"] });
    await untilTrades(events, 10);
    exchange.faults.inject({ drop: true });
    const { notice: disconnected } = await until(events, "disconnected");
    assert.match(disconnected.reason ?? "", /^closed by the exchange: 1012/);
    assert.equal(disconnected.connection, connected.connection);
    const { notice: again } = await until(events, "connected");
    assert.notEqual(again.connection, connected.connection);
    await untilTrades(events, 10);
  }));

Deno.test("a hole is told between the trades that it lies between", () =>
  withFeed({ products: ["BTC-USD"] }, async (events, exchange) => {
    const tenth = await untilTrades(events, 10);
    exchange.faults.inject({ swallowTrades: 3 });
    const { notice, before } = await until(events, "gap");
    const { value: after } = await events.next();
    const lastBefore = before.filter(isTrade).at(-1) ?? tenth;
    const id = (event: FeedEvent) =>
      event.kind === "frame" ? Number(JSON.parse(String(event.data)).trade_id) : NaN;
    assert.deepEqual(notice.details, { first_missing: id(lastBefore) + 1, last_missing: id(after) - 1 });
    assert.equal(id(after) - id(lastBefore), 4);
  }));

Deno.test("a socket that stays open and says nothing is taken for dead and replaced", () =>
  withFeed({ silenceMs: 1500 }, async (events, exchange) => {
    await untilTrades(events, 10);
    exchange.faults.inject({ silenceSeconds: 3 });
    const { notice } = await until(events, "silent");
    assert.deepEqual(notice.details, { limit_ms: 1500 });
    await until(events, "disconnected");
    await until(events, "connected");
    await untilTrades(events, 10);
  }));

Deno.test("a product whose heartbeats stop is not quiet but dead, though others speak", () =>
  withFeed({ silenceMs: 2000, channels: ["heartbeat"], products: ["BTC-USD"] }, async (events, exchange) => {
    await until(events, "subscribed");
    exchange.faults.inject({ swallowHeartbeats: 1000 });
    const others = setInterval(
      () => exchange.faults.inject({ raw: '{"type":"heartbeat","product_id":"ETH-USD"}' }),
      200,
    );
    try {
      const { notice } = await until(events, "silent");
      assert.equal(notice.productId, "BTC-USD");
    } finally {
      clearInterval(others);
    }
  }));

Deno.test("a buffer that is full closes the feed, says so for each product, and opens it again when there is room", () => {
  const full = Promise.withResolvers<void>();
  const log = createLogger({}, { write: (line) => line.includes("buffer full, closing") && full.resolve() });
  return withFeed({ bufferBytes: 3 * 1024 * 1024, products: ["BTC-USD"], log }, async (events, exchange) => {
    await until(events, "subscribed");
    for (let megabyte = 0; megabyte < 4; megabyte++) {
      exchange.faults.inject({ raw: JSON.stringify({ type: "filler", text: "x".repeat(1024 * 1024) }) });
    }
    // Nobody reads until it is full.
    await full.promise;
    const { notice, before } = await until(events, "buffer_full");
    assert.equal(notice.productId, "BTC-USD");
    assert.ok(before.filter((event) => event.kind === "frame" && event.type === "filler").length >= 2);
    const { notice: disconnected } = await until(events, "disconnected");
    assert.equal(disconnected.reason, "buffer full");
    await until(events, "connected");
    await untilTrades(events, 10);
  });
});

Deno.test("an acknowledgement that is late is asked for again; one that never comes is told, and ends the connection", () =>
  withFeed({ answerMs: 300 }, async (events, exchange) => {
    await untilTrades(events, 1);
    exchange.faults.inject({ ackDelaySeconds: 3600, drop: true });
    const { notice } = await until(events, "not_acknowledged");
    assert.ok(notice.channel);
    const { notice: disconnected } = await until(events, "disconnected");
    assert.equal(disconnected.reason, "no acknowledgement");
    exchange.faults.inject({ ackDelaySeconds: 0 });
    await until(events, "subscribed");
    await untilTrades(events, 1);
  }));

Deno.test("a feed whose every product is refused ends with one line that says so", async () => {
  await withFeed({ products: ["NONE-USD", "NADA-USD"] }, async (events) => {
    await assert.rejects(async () => {
      while (!(await events.next()).done);
    }, /^FatalError: The exchange refused every product: .*(NONE|NADA)-USD is not a valid product/);
  });
});

Deno.test("many products are spread over several connections, status over one", () =>
  withFeed(
    { products: ["BTC-USD", "ETH-USD", "SOL-USD"], productsPerConnection: 2 },
    async (events, exchange) => {
      const connections = new Map<string, Set<string>>();
      while (new Set([...connections.keys()]).size < 4) {
        const { value } = await events.next();
        if (value.kind === "notice" && value.event === "connected") continue;
        const product = value.productId ??
          (value.kind === "frame" && value.type === "status" ? "status" : undefined);
        if (product === undefined) continue;
        connections.set(product, (connections.get(product) ?? new Set()).add(value.connection.slice(-2)));
      }
      assert.equal(exchange.connections(), 2);
      assert.deepEqual(connections.get("BTC-USD"), new Set(["-1"]));
      assert.deepEqual(connections.get("ETH-USD"), new Set(["-1"]));
      assert.deepEqual(connections.get("SOL-USD"), new Set(["-2"]));
      assert.deepEqual(connections.get("status"), new Set(["-1"]));
    },
  ));

Deno.test("an exchange that isn't there is tried again and again, and the stop ends that", async () => {
  const lines: Record<string, unknown>[] = [];
  const stop = new AbortController();
  const feed = openFeed({
    url: "ws://127.0.0.1:1",
    products: ["BTC-USD"],
    channels: ["matches"],
    productsPerConnection: 50,
    silenceMs: 10_000,
    bufferBytes: 1024,
    signal: stop.signal,
    reconnectMs: 10,
    log: createLogger({}, {
      write(line) {
        lines.push(JSON.parse(line));
        if (lines.filter(({ message }) => message === "connection ended").length === 3) stop.abort();
      },
    }),
  });
  assert.deepEqual(await Array.fromAsync(feed), []);
  const ended = lines.filter(({ message }) => message === "connection ended");
  assert.match(String(ended[0]?.reason), /^error: .*(refused|connect)/i);
});
