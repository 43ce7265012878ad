/**
 * The feed over real sockets, against the simulated exchange and its faults: what a reader of the events sees.
 *
 * @module
 */

import "../support/clean_environment.ts";
import assert from "node:assert/strict";
import { startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { openFeed } from "../../lib/feed/feed.ts";
import type { FeedOptions } from "../../lib/feed/connection.ts";
import type { FeedEvent, FeedItem } from "../../lib/feed/feed_items.ts";
import { createLogger } from "../../lib/process/log.ts";
import { feedReasons } from "../../lib/feed/producer_watch.ts";

/** Opens a feed on a fresh exchange; ends both when `body` returns. */
async function withFeed(
  options: Partial<FeedOptions>,
  body: (
    items: AsyncIterator<FeedItem>,
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
  const items = feed[Symbol.asyncIterator]();
  try {
    await body(items, exchange, stop);
  } finally {
    stop.abort();
    await exchange.stop();
    // What was on its way; the iterator ends when the connections have.
    while (!(await items.next().catch(() => ({ done: true }))).done);
  }
}

/** Reads until this event of the feed comes, and fails when `never` comes before; returns it and what came before. */
async function until(
  items: AsyncIterator<FeedItem>,
  event: FeedEvent["event"],
  never?: FeedEvent["event"],
): Promise<{ feedEvent: FeedEvent; before: FeedItem[] }> {
  const before: FeedItem[] = [];
  while (true) {
    const next = await items.next();
    if (next.done) return assert.fail(`the feed ended before ${event}`);
    if (next.value.kind === "event") {
      if (next.value.event === event) return { feedEvent: next.value, before };
      assert.notEqual(next.value.event, never, `before ${event}`);
    }
    before.push(next.value);
  }
}

const isTrade = (item: FeedItem) => item.kind === "frame" && item.type === "match";

/** Reads until so many trades have come; returns the last one. */
async function untilTrades(items: AsyncIterator<FeedItem>, count: number): Promise<FeedItem> {
  for (let seen = 0;;) {
    const { value, done } = await items.next();
    assert.ok(!done, "the feed ended");
    if (isTrade(value) && ++seen === count) return value;
  }
}

Deno.test("feed: frames come untouched, in order, stamped in microseconds", () =>
  withFeed({}, async (items, exchange) => {
    const frames: Extract<FeedItem, { kind: "frame" }>[] = [];
    while (frames.filter(isTrade).length < 500) {
      const { value } = await items.next();
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

Deno.test("feed: a connection's life is told as connected, subscribed by product, disconnected with reason, and again", () =>
  withFeed({}, async (items, exchange) => {
    const { feedEvent: connected } = await until(items, "connected");
    const { feedEvent: first } = await until(items, "subscribed");
    const { feedEvent: second } = await until(items, "subscribed");
    assert.deepEqual([first.productId, second.productId].sort(), ["BTC-USD", "ETH-USD"]);
    assert.deepEqual(first.details, { channels: ["ticker", "matches", "heartbeat", "level2_batch"] });
    await untilTrades(items, 10);
    exchange.faults.inject({ drop: true });
    const { feedEvent: disconnected } = await until(items, "disconnected");
    assert.match(disconnected.reason ?? "", /^closed by the exchange: 1012/);
    assert.equal(disconnected.connection, connected.connection);
    const { feedEvent: again } = await until(items, "connected");
    assert.notEqual(again.connection, connected.connection);
    await untilTrades(items, 10);
  }));

Deno.test("feed: a gap is told between the trades that it lies between", () =>
  withFeed({ products: ["BTC-USD"] }, async (items, exchange) => {
    const tenth = await untilTrades(items, 10);
    exchange.faults.inject({ swallowTrades: 3 });
    const { feedEvent, before } = await until(items, "gap");
    const { value: after } = await items.next();
    const lastBefore = before.filter(isTrade).at(-1) ?? tenth;
    const id = (item: FeedItem) =>
      item.kind === "frame" ? Number(JSON.parse(String(item.data)).trade_id) : NaN;
    assert.deepEqual(feedEvent.details, { first_missing: id(lastBefore) + 1, last_missing: id(after) - 1 });
    assert.equal(id(after) - id(lastBefore), 4);
  }));

Deno.test("feed: a socket that stays open and says nothing is taken for dead and replaced", () =>
  withFeed({ silenceMs: 1500 }, async (items, exchange) => {
    await untilTrades(items, 10);
    exchange.faults.inject({ silenceSeconds: 3 });
    const { feedEvent } = await until(items, "silent");
    assert.deepEqual(feedEvent.details, { limit_ms: 1500 });
    await until(items, "disconnected");
    await until(items, "connected");
    await untilTrades(items, 10);
  }));

Deno.test("feed: a product whose heartbeats stop is not quiet but dead, though others speak", () =>
  withFeed({ silenceMs: 2000, channels: ["heartbeat"], products: ["BTC-USD"] }, async (items, exchange) => {
    await until(items, "subscribed");
    exchange.faults.inject({ swallowHeartbeats: 1000 });
    const others = setInterval(
      () => exchange.faults.inject({ raw: '{"type":"heartbeat","product_id":"ETH-USD"}' }),
      200,
    );
    try {
      const { feedEvent } = await until(items, "silent");
      assert.equal(feedEvent.productId, "BTC-USD");
    } finally {
      clearInterval(others);
    }
  }));

Deno.test("feed: a buffer that is full closes the feed, says so for each product, and opens it again when there is room", () => {
  const full = Promise.withResolvers<void>();
  const log = createLogger({}, { write: (line) => line.includes("buffer full, closing") && full.resolve() });
  return withFeed({ bufferBytes: 3 * 1024 * 1024, products: ["BTC-USD"], log }, async (items, exchange) => {
    await until(items, "subscribed");
    for (let megabyte = 0; megabyte < 4; megabyte++) {
      exchange.faults.inject({ raw: JSON.stringify({ type: "filler", text: "x".repeat(1024 * 1024) }) });
    }
    // Nobody reads until it is full.
    await full.promise;
    const { feedEvent, before } = await until(items, "buffer_full");
    assert.equal(feedEvent.productId, "BTC-USD");
    assert.ok(before.filter((item) => item.kind === "frame" && item.type === "filler").length >= 2);
    const { feedEvent: disconnected } = await until(items, "disconnected");
    assert.equal(disconnected.reason, "buffer full");
    await until(items, "connected");
    await untilTrades(items, 10);
  });
});

/**
 * An exchange that is told what to answer.
 *
 * @param answer to a client's message, parsed; the frames go out in order
 */
function startOwnExchange(answer: (message: SubscribeMessage, asked: SubscribeMessage[]) => unknown[]) {
  const asked: SubscribeMessage[] = [];
  const sockets: WebSocket[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    sockets.push(socket);
    socket.onmessage = ({ data }) => {
      asked.push(JSON.parse(data));
      for (const frame of answer(asked.at(-1)!, asked)) socket.send(JSON.stringify(frame));
    };
    return response;
  });
  return {
    url: `ws://127.0.0.1:${server.addr.port}`,
    /** All that was asked for, over all connections. */
    asked,
    sockets,
    stop: () => server.shutdown(),
  };
}

/** What a client asks for. */
interface SubscribeMessage {
  type: string;
  product_ids: string[];
  channels: string[];
}

Deno.test("feed: what isn't acknowledged in time is asked for again, each channel of each product by itself", async () => {
  // It chokes on more than one channel or product at once.
  const acknowledged = new Map<string, string[]>();
  const own = startOwnExchange(({ product_ids, channels }) => {
    if (product_ids.length > 1 || channels.length > 1) return [];
    const [channel = "", product = ""] = [channels[0], product_ids[0]];
    acknowledged.set(channel, [...(acknowledged.get(channel) ?? []), product]);
    return [{
      type: "subscriptions",
      channels: [...acknowledged].map(([name, product_ids]) => ({ name, product_ids })),
    }];
  });
  try {
    await withFeed(
      { url: own.url, channels: ["matches", "ticker"], answerMs: 300 },
      async (items) => {
        const pairs = new Set<string>();
        while (pairs.size < 4) {
          const { feedEvent: { productId, details } } = await until(items, "subscribed", "disconnected");
          for (const channel of details?.channels as string[]) pairs.add(`${channel} ${productId}`);
        }
        const subscribe = (products: string[], channels: string[]) => ({
          type: "subscribe",
          product_ids: products,
          channels,
        });
        assert.deepEqual(own.asked, [
          subscribe(["BTC-USD", "ETH-USD"], ["matches", "ticker"]),
          ...["matches", "ticker"].flatMap((channel) =>
            ["BTC-USD", "ETH-USD"].map((product) => subscribe([product], [channel]))
          ),
        ]);
        assert.equal(own.sockets.length, 1);
      },
    );
  } finally {
    await own.stop();
  }
});

Deno.test("feed: one silent product among others is asked for again on the same connection", async () => {
  let beating: ReturnType<typeof setInterval> | undefined;
  const heartbeat = (product_id: string) => ({ type: "heartbeat", product_id });
  const own = startOwnExchange(({ product_ids }, asked) => {
    if (asked.length > 1) return product_ids.map(heartbeat);
    beating = setInterval(() => own.sockets[0]?.send(JSON.stringify(heartbeat("ETH-USD"))), 20);
    return [{ type: "subscriptions", channels: [{ name: "heartbeat", product_ids }] }];
  });
  try {
    await withFeed({ url: own.url, channels: ["heartbeat"], silenceMs: 2000 }, async (items) => {
      const { feedEvent } = await until(items, "silent", "disconnected");
      assert.equal(feedEvent.productId, "BTC-USD");
      for (let others = 0, heard: string | undefined; heard !== "BTC-USD"; others++) {
        const { value } = await items.next();
        assert.equal(value.kind, "frame");
        assert.ok(others < 1000, "it isn't asked for again");
        heard = value.productId;
      }
      assert.deepEqual(own.asked[1], {
        type: "subscribe",
        product_ids: ["BTC-USD"],
        channels: ["heartbeat"],
      });
      assert.equal(own.sockets.length, 1);
    });
  } finally {
    clearInterval(beating);
    await own.stop();
  }
});

Deno.test("feed: ticker_batch is subscribed to under its own name and brings tickers", () =>
  withFeed({ channels: ["ticker_batch"], products: ["BTC-USD"] }, async (items) => {
    const { feedEvent } = await until(items, "subscribed", "not_acknowledged");
    assert.deepEqual(feedEvent.details, { channels: ["ticker_batch"] });
    const { value } = await items.next();
    assert.equal(value.kind === "frame" && value.type, "ticker");
  }));

Deno.test("feed: an acknowledgement that never comes is told, and ends the connection", () =>
  withFeed({ answerMs: 300 }, async (items, exchange) => {
    await untilTrades(items, 1);
    exchange.faults.inject({ ackDelaySeconds: 3600, drop: true });
    const { feedEvent } = await until(items, "not_acknowledged");
    assert.ok(feedEvent.channel);
    const { feedEvent: disconnected } = await until(items, "disconnected");
    assert.equal(disconnected.reason, "no acknowledgement");
    exchange.faults.inject({ ackDelaySeconds: 0 });
    await until(items, "subscribed");
    await untilTrades(items, 1);
  }));

Deno.test("feed: a channel that is never acknowledged stays missing while the others work", async () => {
  // An exchange that knows no order book.
  const own = startOwnExchange(() => [{
    type: "subscriptions",
    channels: [{ name: "matches", product_ids: ["BTC-USD"] }],
  }]);
  const stop = new AbortController();
  const feed = openFeed({
    url: own.url,
    products: ["BTC-USD"],
    channels: ["matches", "level2_batch"],
    productsPerConnection: 10,
    silenceMs: 60_000,
    bufferBytes: 1024 * 1024,
    signal: stop.signal,
    log: createLogger({}, { write: () => {} }),
    answerMs: 200,
  });
  try {
    const items = feed[Symbol.asyncIterator]();
    await until(items, "subscribed");
    // It may still come.
    assert.deepEqual(feedReasons(feed), []);
    const { feedEvent } = await until(items, "not_acknowledged");
    assert.equal(feedEvent.channel, "level2_batch");
    assert.deepEqual(feedReasons(feed), ["feed: channel level2_batch of BTC-USD not acknowledged"]);
    assert.equal(feed.connected, 1);
    stop.abort();
    while (!(await items.next()).done);
    assert.deepEqual(feedReasons(feed), ["feed: 0 of 1 connections are up"]);
    assert.equal(feed.bufferedItems, 0);
  } finally {
    stop.abort();
    await own.stop();
  }
});

Deno.test("feed: when every product is refused, it ends with one line that says so", async () => {
  await withFeed({ products: ["NONE-USD", "NADA-USD"] }, async (items) => {
    await assert.rejects(async () => {
      while (!(await items.next()).done);
    }, /^FatalError: The exchange refused every product: .*(NONE|NADA)-USD is not a valid product/);
  });
});

Deno.test("feed: many products are spread over several connections, status over one", () =>
  withFeed(
    { products: ["BTC-USD", "ETH-USD", "SOL-USD"], productsPerConnection: 2 },
    async (items, exchange) => {
      const connections = new Map<string, Set<string>>();
      while (new Set([...connections.keys()]).size < 4) {
        const { value } = await items.next();
        if (value.kind === "event" && value.event === "connected") continue;
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

Deno.test("feed: an exchange that isn't there is tried again and again after growing pauses, and the stop ends that", async () => {
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
  // Of 10, 20 and 40 ms, half at least.
  const pauses = ended.map(({ reconnect_in_ms }) => Number(reconnect_in_ms));
  [5, 10, 20].forEach((least, index) => assert.ok(pauses[index]! >= least, pauses.join()));
});
