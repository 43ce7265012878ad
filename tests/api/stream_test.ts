/**
 * The stream over real sockets, Kafka and ClickHouse: what clients hear is compared with what the exchange sent and with
 * what ClickHouse says afterwards.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Partitioners } from "kafkajs";
import { Registry } from "prom-client";
import { createLagReader } from "../../lib/api/cache/consumer_lag.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { openFeed } from "../../lib/feed/feed.ts";
import { type Exchange, startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { openStream, type Stream, type StreamOptions } from "../../lib/stream/live_stream.ts";
import { sleep } from "../../lib/core/retry.ts";
import { isoMicros, nowMicros } from "../../lib/core/time.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import {
  connect,
  makeTopics,
  type Message,
  quiet,
  type TestClient,
  withStream,
} from "../support/stream_client.ts";
import { type Servers, startServers, type Tape, withTape } from "../support/tape.ts";
import { hangMs } from "../support/until.ts";
import { exchangeEnv } from "../support/exchange.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

interface Market {
  tape: Tape;
  exchange: Exchange;
  stream: Stream;
  url: string;
}

const products = ["BTC-USD", "ETH-USD"];

/** A simulated market that is produced, stored and streamed. */
async function withMarket(
  options: Partial<StreamOptions>,
  body: (market: Market) => Promise<void>,
): Promise<void> {
  const exchange = await startExchange({ source: createSimulation({ rate: 300, products }), record: true });
  const env = {
    ...exchangeEnv(exchange),
    COINBASE_PRODUCTS: products.join(),
    FEED_SOURCE: "simulator",
  };
  try {
    await withTape(servers, env, async (tape) => {
      await Promise.all([tape.start("consumer"), tape.start("producer")]);
      // What nobody has heard of yet can't be followed.
      for (const product of products) {
        await tape.until(
          `the first trades of ${product}`,
          async () =>
            Number(await tape.value(`SELECT count() FROM trades WHERE product_id = '${product}'`)) > 20,
        );
      }
      await withStream(tape, options, (stream, url) => body({ tape, exchange, stream, url }));
    });
  } finally {
    await exchange.stop();
  }
}

/** The exchange says nothing more, and all it said is stored. */
async function quieten({ exchange, tape }: Market): Promise<void> {
  exchange.faults.inject({ silenceSeconds: 3600 });
  let sent = -1;
  await tape.until("the producer to have sent all", async () => {
    const before = sent;
    sent = Number(await tape.value("SELECT count() FROM trades"));
    await tape.untilRead();
    return sent === before;
  });
}

Deno.test("stream: clients hear each trade once and in order, as the exchange sent it", async () => {
  await withMarket({}, async (market) => {
    const { exchange, url } = market;
    const [plain, batched] = [await connect(url), await connect(url)];
    const request = { type: "subscribe", product_ids: products, channels: ["matches", "ticker"] };
    plain.say(request);
    batched.say({ ...request, batch: true });
    const ack = await plain.until("the acknowledgement", ({ type }) => type === "subscriptions");
    assert.deepEqual(ack.channels, [
      { name: "matches", product_ids: products },
      { name: "ticker", product_ids: products },
    ]);
    for (const client of [plain, batched]) {
      await client.until(
        "600 trades",
        (_, index) =>
          client.messages.slice(0, index + 1).filter(({ type }) => type === "match").length >= 600,
      );
    }
    await quieten(market);
    for (const client of [plain, batched]) {
      const seqs = client.messages.filter(({ type }) => type === "match" || type === "ticker").map((
        { seq },
      ) => seq);
      // The ticker of a snapshot has the number up to which it is new.
      for (let i = 1; i < seqs.length; i++) {
        assert.ok(seqs[i]! >= seqs[i - 1]!, `${seqs[i - 1]} then ${seqs[i]}`);
      }
      for (const product of products) {
        const heard = client.messages.filter(({ type, product_id }) =>
          type === "match" && product_id === product
        );
        const first = heard[0]?.trade_id as number;
        const last = heard.at(-1)?.trade_id as number;
        const sent = exchange.ledger.frames.map((frame) => JSON.parse(frame)).filter((frame) =>
          frame.type === "match" && frame.product_id === product && frame.trade_id >= first &&
          frame.trade_id <= last
        );
        assert.equal(heard.length, sent.length);
        assert.deepEqual(
          heard.map(({ seq: _, received_at: __, taker_side, ...fields }) => {
            assert.equal(taker_side, fields.side === "buy" ? "sell" : "buy");
            return fields;
          }),
          sent,
        );
        assert.equal(
          client.messages.filter(({ type, product_id }) => type === "last_match" && product_id === product)
            .length,
          1,
        );
      }
    }
    await Promise.all([plain.close(), batched.close()]);
  });
});

Deno.test("stream: a candle that has closed equals the view's row, the one that was open at the start too", async () => {
  await withMarket({}, async (market) => {
    const { tape, url } = market;
    const client = await connect(url);
    const interval = "3s";
    client.say({ type: "subscribe", product_ids: products, channels: [{ name: "candles", interval }] });
    const ack = await client.until("the acknowledgement", ({ type }) => type === "subscriptions");
    assert.deepEqual(ack.channels, [{ name: "candles", interval, product_ids: products }]);
    const closed = new Map<string, Record<string, unknown>>();
    let trailing = 0;
    await client.until("four candles of each product", ({ type, product_id, candle }) => {
      if (type !== "candles") return false;
      const row = candle as Record<string, unknown>;
      trailing++;
      if (row.closed) closed.set(`${product_id} ${row.time}`, row);
      return products.every((product) =>
        [...closed.keys()].filter((key) => key.startsWith(product)).length >= 4
      );
    });
    assert.ok(trailing > closed.size, "candles are sent before they close, too");
    for (const snapshot of client.messages.filter(({ type }) => type === "candles_snapshot")) {
      const rows = snapshot.candles as Record<string, unknown>[];
      assert.ok(rows.length > 0);
      for (const row of rows) if (row.closed) closed.set(`${snapshot.product_id} ${row.time}`, row);
    }
    await quieten(market);
    for (const [key, { closed: _, ...row }] of closed) {
      const [product, time] = key.split(" ") as [string, string];
      const [stored] = await tape.rows(
        `SELECT replace(toString(time), ' ', 'T') || 'Z' AS at, toString(open) AS o,
        toString(high) AS h, toString(low) AS l, toString(close) AS c, toString(volume) AS v,
        toString(quote_volume) AS q, toString(buy_volume) AS b, toString(sell_volume) AS s, trades AS n,
        toString(vwap) AS w, is_filled AS f FROM candles(product='${product}', interval='${interval}',
        from='${time.slice(0, 19).replace("T", " ")}', to='${time.slice(0, 19).replace("T", " ")}.000001')`,
      );
      const { at, o, h, l, c, v, q, b, s, n, w, f } = stored as Record<string, unknown>;
      assert.deepEqual(row, {
        time: at,
        open: o,
        high: h,
        low: l,
        close: c,
        volume: v,
        quote_volume: q,
        buy_volume: b,
        sell_volume: s,
        trades: Number(n),
        vwap: w,
        is_filled: f,
      }, key);
    }
    await client.close();
  });
});

Deno.test("stream: the book equals book_at at the moment of each message", async () => {
  await withMarket({}, async (market) => {
    const { tape, exchange, url } = market;
    const client = await connect(url);
    client.say({
      type: "subscribe",
      channels: [
        { name: "book", product_ids: ["BTC-USD"], depth: 15 },
        { name: "book", product_ids: ["ETH-USD"], depth: 3 },
      ],
    });
    const isBook = ({ type, product_id }: Message, product: string) =>
      (type === "book" || type === "book_snapshot") && product_id === product;
    for (const product of products) {
      await client.until(
        `30 books of ${product}`,
        (_, index) =>
          client.messages.slice(0, index + 1).filter((message) => isBook(message, product)).length >= 30,
      );
    }
    // The exchange cuts every connection: the book isn't known until the next snapshot.
    exchange.faults.inject({ drop: true });
    const invalid = await client.until(
      "the invalid book",
      ({ type, reason }) => type === "book_invalid" && String(reason).includes("connection has ended"),
    );
    await client.until(
      "the new snapshot",
      (message) =>
        message.type === "book_snapshot" && message.product_id === invalid.product_id &&
        message.seq > invalid.seq,
    );
    await quieten(market);
    let compared = 0;
    for (const message of client.messages) {
      const product = String(message.product_id);
      if (!isBook(message, product)) continue;
      const depth = product === "BTC-USD" ? 15 : 3;
      assert.equal(message.depth, depth);
      const time = String(message.time).slice(0, 26).replace("T", " ");
      const levels = await tape.rows<{ side: string; p: string; s: string }>(
        `SELECT toString(side) AS side, toString(price) AS p, toString(size) AS s FROM
        book_at(product='${product}', at='${time}', depth=${depth}) ORDER BY book_at.side, level`,
      );
      const side = (name: string) => levels.filter((level) => level.side === name).map(({ p, s }) => [p, s]);
      assert.deepEqual(
        { bids: message.bids, asks: message.asks },
        { bids: side("bid"), asks: side("ask") },
        time,
      );
      if (++compared >= 60) break;
    }
    assert.equal(compared, 60);
    await client.close();
  });
});

Deno.test("stream: a client that comes back in time loses nothing and hears nothing twice", async () => {
  await withMarket({}, async ({ url, stream }) => {
    const request = {
      type: "subscribe",
      product_ids: products,
      channels: ["matches", "ticker", { name: "candles", interval: "2s" }, "book"],
    };
    const steady = await connect(url);
    steady.say(request);
    const isData = ({ type }: Message) => ["match", "ticker", "candles", "book"].includes(type);
    const isLive = (client: TestClient) =>
      client.until(
        "candles and books of both",
        (_, index) =>
          ["candles", "book"].every((type) =>
            products.every((product) =>
              client.messages.slice(0, index + 1).some((message) =>
                message.type === type && message.product_id === product
              )
            )
          ),
      );
    await isLive(steady);
    let dropping = await connect(url);
    dropping.say(request);
    await isLive(dropping);
    const first = dropping.messages.findLast(isData)!.seq;
    const heard: number[] = [];
    for (const batch of [false, true, false]) {
      await dropping.close();
      const resume = { stream: stream.status().stream, seq: heard.at(-1) ?? first };
      // What is missed: not time but messages.
      await steady.until("500 messages more", ({ seq }) => seq > resume.seq + 500);
      dropping = await connect(url);
      dropping.say({ ...request, resume, batch });
      const ack = await dropping.until("the acknowledgement", ({ type }) => type === "subscriptions");
      assert.equal(ack.resumed, true);
      const target = ack.seq + 300;
      await dropping.until("300 messages after it", (message) => isData(message) && message.seq > target);
      assert.ok(!dropping.messages.some(({ type }) => type.includes("snapshot")), "no snapshot when resumed");
      heard.push(...dropping.messages.filter(isData).map(({ seq }) => seq));
    }
    await steady.until("as much", ({ seq }) => seq > heard.at(-1)!);
    const all = steady.messages.filter(isData).map(({ seq }) => seq);
    assert.deepEqual(heard, all.filter((seq) => seq > first && seq <= heard.at(-1)!));

    await dropping.close();
    for (
      const resume of [{ stream: "another", seq: first }, { stream: stream.status().stream, seq: 10 ** 9 }]
    ) {
      dropping = await connect(url);
      dropping.say({ ...request, resume });
      const ack = await dropping.until("the acknowledgement", ({ type }) => type === "subscriptions");
      assert.equal(ack.resumed, false);
      await dropping.until("a fresh snapshot", ({ type }) => type === "candles_snapshot");
      await dropping.close();
    }
    await steady.close();
  });
});

Deno.test("stream: the project's own Coinbase client follows the stream as if it were the exchange", async () => {
  await withMarket({}, async ({ url }) => {
    const stop = new AbortController();
    const feed = openFeed({
      url,
      products,
      channels: ["ticker", "matches", "heartbeat"],
      productsPerConnection: 10,
      silenceMs: 30_000,
      bufferBytes: 1 << 24,
      signal: stop.signal,
      log: quiet,
    });
    const counts: Record<string, number> = {};
    for await (const item of feed) {
      const name = item.kind === "frame" ? item.type : item.event;
      counts[name] = (counts[name] ?? 0) + 1;
      const { match = 0, ticker = 0, heartbeat = 0 } = counts;
      if (match >= 200 && ticker >= 100 && heartbeat >= 2) stop.abort();
    }
    assert.equal(counts.connected, 1);
    assert.equal(counts.subscribed, 2);
    assert.equal(counts.last_match, 2);
    for (const bad of ["gap", "error", "refused", "not_acknowledged", "silent"]) {
      assert.equal(counts[bad], undefined, bad);
    }
  });
});

Deno.test("stream: one that begins while the consumer is behind tells no newest trade that the live ones don't follow", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const consumer = await tape.start("consumer");
    await produceMatches(tape, 1, 20);
    await tape.untilRead();
    Deno.kill(consumer.pid, "SIGSTOP");
    try {
      // Only in the topic, before the stream's beginning.
      await produceMatches(tape, 21, 20);
      await withStream(tape, {}, async (_stream, url) => {
        const client = await connect(url);
        client.say({ type: "subscribe", product_ids: ["BTC-USD"], channels: ["matches"] });
        await client.until("the acknowledgement", ({ type }) => type === "subscriptions");
        await produceMatches(tape, 41, 20);
        await client.until("the newest trade", ({ type }) => type === "last_match");
        await produceMatches(tape, 61, 1);
        await client.until("the last trade", ({ trade_id }) => trade_id === 61);
        const ids = client.messages.filter(({ type }) => String(type).endsWith("match"))
          .map(({ trade_id }) => Number(trade_id));
        const first = ids[0] ?? 0;
        assert.ok(first > 40, `the newest trade is ${first}`);
        assert.deepEqual(ids, Array.from({ length: 62 - first }, (_, i) => first + i));
        await client.close();
      });
    } finally {
      Deno.kill(consumer.pid, "SIGCONT");
    }
  });
});

Deno.test("stream: while nobody is there nothing is read, and whoever comes finds the last seconds and all that follows", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const admin = openBroker(tape.config, "test", quiet).admin();
    await admin.connect();
    const ring = { messages: 1000, length: 1e6, ms: 300, computed: { messages: 1000, length: 1e6 } };
    const request = { type: "subscribe", product_ids: ["BTC-USD"], channels: ["matches"] };
    await withStream(tape, { ring }, async (stream, url) => {
      const first = await connect(url);
      first.say(request);
      await first.until("the acknowledgement", ({ type }) => type === "subscriptions");
      await produceMatches(tape, 1, 1);
      const { seq } = await first.until("the first trade", ({ trade_id }) => trade_id === 1);
      await first.close();
      // Until nobody can come back to what was said; then the next message finds that nobody waits for it.
      await sleep(2 * ring.ms);
      await produceMatches(tape, 2, 1);
      await tape.until("the rest", () => Promise.resolve(stream.status().seq === Number(seq) + 1));
      await produceMatches(tape, 3, 4999);
      // Longer than a member lives that says nothing.
      await sleep(12_000);
      assert.equal(stream.status().seq, Number(seq) + 1);
      const ids = (await admin.listGroups()).groups.map(({ groupId }) => groupId);
      const own = ids.filter((id) => id.startsWith(`${tape.config.KAFKA_GROUP}_stream_`));
      const { groups } = await admin.describeGroups(own);
      assert.deepEqual(groups.map(({ members }) => members.length), [1]);
      // Another member doesn't catch up either.
      await servers.kafka.stop();
      await servers.startKafka();
      // What was said just now is stored and in the topic: whoever comes hears each trade of it once.
      await tape.start("consumer");
      await produceMatches(tape, 5002, 10);
      await tape.untilRead();
      const client = await connect(url);
      client.say({ ...request, resume: { stream: stream.status().stream, seq } });
      const { resumed } = await client.until("the acknowledgement", ({ type }) => type === "subscriptions");
      assert.equal(resumed, false);
      await produceMatches(tape, 5012, 10);
      await client.until("the last trade", ({ trade_id }) => trade_id === 5021);
      const heard = client.messages.filter(({ type }) => String(type).endsWith("match"))
        .map(({ trade_id }) => Number(trade_id));
      assert.deepEqual(heard, Array.from({ length: heard.length }, (_, i) => 5022 - heard.length + i));
      assert.ok(heard.length <= 20, `${heard.length} trades were heard`);
      await client.close();
    });
    await admin.disconnect();
  });
});

/** Puts matches of one product into the topic, numbered from `first`. */
async function produceMatches(tape: Tape, first: number, count: number): Promise<void> {
  const producer = openBroker(tape.config, "test", quiet).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  const now = nowMicros();
  for (let at = 0; at < count; at += 2000) {
    await producer.send({
      topic: tape.config.KAFKA_TOPIC,
      messages: Array.from({ length: Math.min(2000, count - at) }, (_, i) => ({
        key: "BTC-USD",
        value: JSON.stringify({
          type: "match",
          trade_id: first + at + i,
          product_id: "BTC-USD",
          time: isoMicros(now + at + i),
          price: "64000.12",
          size: "0.5",
          side: "buy",
          maker_order_id: "m".repeat(200),
        }),
        headers: { received_at: String(now), source: "feed", connection: "c-1" },
      })),
    });
  }
  await producer.disconnect();
}

Deno.test("stream: a client that stops reading is told and sent away, and others hear all", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const limits = { clientBytes: 256 * 1024 };
    // A client that doesn't read answers no ping either: that is another test's.
    await withStream(tape, { limits, pongSeconds: 3600 }, async (stream, url) => {
      const reader = await connect(url);
      reader.say({ type: "subscribe", product_ids: ["BTC-USD"], channels: ["matches"], batch: true });
      await reader.until("the acknowledgement", ({ type }) => type === "subscriptions");
      const raw = await connectRaw(url);
      await raw.write(maskedFrame('{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}'));
      await tape.until("both clients", () => Promise.resolve(stream.status().clients === 2));
      const before = Deno.memoryUsage().rss;
      const count = 60_000;
      // 33 MB for each client: more than the sockets of the system hold.
      await produceMatches(tape, 1, count);
      await tape.until("the slow client to be gone", () => Promise.resolve(stream.status().clients === 1));
      await reader.until("every trade", ({ type, trade_id }) => type === "match" && trade_id === count);
      assert.equal(reader.messages.filter(({ type }) => type === "match").length, count);
      assert.ok(Deno.memoryUsage().rss - before < 600e6, "memory is bounded");
      // Once it reads, it finds why it was sent away.
      const text = new TextDecoder();
      let end = "";
      for (;;) {
        const chunk = new Uint8Array(1 << 16);
        const size = await raw.read(chunk).catch(() => null);
        if (size === null) break;
        end = (end + text.decode(chunk.subarray(0, size))).slice(-2000);
        if (end.includes('"type":"slow"') && end.includes("slow: ")) break;
      }
      assert.match(end, /"type":"slow","reason":"\d+ bytes are unread, the limit is 262144"/);
      raw.close();
      await reader.close();
    });
  });
});

/** A socket whose handshake is sent: what it reads and writes are bytes. */
async function connectRaw(url: string): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(url);
  const raw = await Deno.connect({ hostname, port: Number(port) });
  await raw.write(new TextEncoder().encode(
    `GET /api/stream HTTP/1.1\r\nHost: ${hostname}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  ));
  return raw;
}

/** What a handshake is answered with: the status and the headers' text. */
async function handshake(url: string, more = ""): Promise<{ status: number; head: string; end(): void }> {
  const { hostname, port, pathname, search } = new URL(url);
  const raw = await Deno.connect({ hostname, port: Number(port) });
  await raw.write(new TextEncoder().encode(
    `GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`,
  ));
  let head = "";
  const decoder = new TextDecoder();
  while (!head.includes("\r\n\r\n")) {
    const chunk = new Uint8Array(4096);
    const size = await raw.read(chunk);
    if (size === null) break;
    head += decoder.decode(chunk.subarray(0, size));
  }
  return { status: Number(head.split(" ")[1]), head: head.toLowerCase(), end: () => raw.close() };
}

/** A text frame as a client sends it; the mask is zero. */
function maskedFrame(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text);
  assert.ok(bytes.length < 126);
  return new Uint8Array([0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes]);
}

Deno.test("stream: trades that are repeated are heard once, and late ones say that they are", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    await withStream(tape, {}, async (_stream, url) => {
      const client = await connect(url);
      client.say({
        type: "subscribe",
        product_ids: ["BTC-USD"],
        channels: ["matches", { name: "candles", interval: "1w" }],
      });
      await client.until("the empty snapshot", ({ type }) => type === "candles_snapshot");
      await produceMatches(tape, 1, 10);
      await produceMatches(tape, 5, 10);
      await produceMatches(tape, 20, 5);
      await produceMatches(tape, 15, 5);
      await produceMatches(tape, 1, 25);
      const last = await client.until(
        "the last",
        ({ type, candle }) => type === "candles" && (candle as { trades: number }).trades === 25,
      );
      const heard = client.messages.filter(({ type }) => type === "match");
      assert.deepEqual(
        heard.map(({ trade_id }) => trade_id),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 15, 16, 17, 18, 19, 25],
      );
      assert.deepEqual(
        heard.filter(({ backfilled }) => backfilled).map(({ trade_id }) => trade_id),
        [15, 16, 17, 18, 19],
      );
      assert.equal((last.candle as { volume: string }).volume, "12.5");
      await client.close();
    });
  });
});

Deno.test("stream: without ClickHouse the live data goes on, and what is missing is told", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const clickhouse = openClickHouse({ ...tape.config, CLICKHOUSE_URL: "http://127.0.0.1:1" });
    await withStream(tape, { clickhouse }, async (_stream, url) => {
      const client = await connect(url);
      client.say({
        type: "subscribe",
        product_ids: ["BTC-USD"],
        channels: ["matches", { name: "candles" }, "book"],
      });
      for (const channel of ["matches", "candles"]) {
        const error = await client.until(
          `the missing start of ${channel}`,
          (message) => message.type === "error" && message.channel === channel,
        );
        assert.match(String(error.reason), /ClickHouse/);
      }
      const book = await client.until("the missing book", ({ type }) => type === "book_invalid");
      assert.match(String(book.reason), /ClickHouse/);
      await produceMatches(tape, 1, 3);
      await client.until("a live trade", ({ type, trade_id }) => type === "match" && trade_id === 3);
      assert.ok(!client.messages.some(({ type }) => type === "candles"), "no candle without its beginning");
      await client.close();
    });
    await clickhouse.close();
  });
});

Deno.test("stream: an anomaly is heard when it is stored and when it ends, by those who follow its product or all", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const store = (product_id: string, kind: string, end_time: string | null) =>
      tape.clickhouse.insert({
        table: "anomalies_state",
        values: [{
          product_id,
          kind,
          severity: "warning",
          time: "2026-07-07 22:58:30.5",
          end_time,
          value: 0.125,
          threshold: 0.05,
          score: 2.5,
          explanation: "The price moved by 12.5 %.",
          // A search may have begun long ago.
          detected_at: "2026-07-07 23:00:00",
        }],
        format: "JSONEachRow",
      });
    await tape.clickhouse.command({ query: "RENAME TABLE anomalies_state TO anomalies_away" });
    await withStream(tape, {}, async (_stream, url) => {
      const [all, one, other] = [await connect(url), await connect(url), await connect(url)];
      all.say({ type: "subscribe", channels: ["anomalies"] });
      one.say({ type: "subscribe", product_ids: ["BTC-USD"], channels: ["anomalies"] });
      other.say({ type: "subscribe", product_ids: ["ETH-USD"], channels: ["anomalies"] });
      const error = await all.until("that there are none yet", ({ type }) => type === "error");
      assert.match(String(error.reason), /anomalies wait for ClickHouse/);
      await tape.clickhouse.command({ query: "RENAME TABLE anomalies_away TO anomalies_state" });
      type Stored = Parameters<typeof store>;
      const ended: Stored = ["BTC-USD", "price_jump", "2026-07-07 22:59:30"];
      const others: Stored = ["ETH-USD", "price_jump", "2026-07-07 22:59:30"];
      const rows: Stored[] = [["BTC-USD", "price_jump", null], ["BTC-USD", "silence", null], others, ended];
      const isOf = ([product, kind, end]: Stored) => (message: Message) =>
        message.type === "anomaly" && message.product_id === product && message.kind === kind &&
        (message.end_time === null) === (end === null);
      for (const row of rows) {
        await store(...row);
        await all.until(row.join(" "), isOf(row));
      }
      await one.until("the end", isOf(ended));
      await other.until("its own", isOf(others));
      const heard = (client: TestClient) =>
        client.messages.filter(({ type }) => type === "anomaly").map(({ product_id, kind, end_time }) =>
          `${product_id} ${kind} ${end_time}`
        );
      const end = "2026-07-07T22:59:30.000000Z";
      assert.deepEqual(heard(all), [
        "BTC-USD price_jump null",
        "BTC-USD silence null",
        `ETH-USD price_jump ${end}`,
        `BTC-USD price_jump ${end}`,
      ]);
      assert.deepEqual(heard(one), heard(all).filter((name) => name.startsWith("BTC")));
      assert.deepEqual(heard(other), [`ETH-USD price_jump ${end}`]);
      const { seq: _, updated_at, ...first } = await all.until(
        "the first",
        isOf(["BTC-USD", "price_jump", null]),
      );
      assert.match(String(updated_at), /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z$/);
      assert.deepEqual(first, {
        type: "anomaly",
        product_id: "BTC-USD",
        kind: "price_jump",
        severity: "warning",
        time: "2026-07-07T22:58:30.500000Z",
        end_time: null,
        value: 0.125,
        threshold: 0.05,
        score: 2.5,
        explanation: "The price moved by 12.5 %.",
        detected_at: "2026-07-07T23:00:00.000000Z",
      });
      await Promise.all([all, one, other].map((client) => client.close()));
    });
  });
});

Deno.test("stream: the lag is what the consumer hasn't stored of what was produced", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const { config } = tape;
    const kafka = openBroker(config, "test", quiet);
    const group = () => Promise.resolve(config.KAFKA_GROUP);
    const lag = createLagReader(kafka, group, [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC]);
    const isLag = (messages: number) => () => {
      const state = lag.read();
      return Promise.resolve(state.ok && state.lag === messages);
    };
    try {
      await tape.until("no lag of empty topics", isLag(0));
      await produceMatches(tape, 1, 123);
      await tape.until("a lag of 123 before the consumer ever ran", isLag(123));
      const consumer = await tape.start("consumer");
      await tape.until("the consumer to have stored them", isLag(0));
      await consumer.stop();
      await produceMatches(tape, 124, 45);
      await tape.until("a lag of 45 while the consumer is stopped", isLag(45));
    } finally {
      await lag.close();
    }
  });
});

Deno.test("stream: groups that killed instances left behind are deleted at a start, one's own at the end", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const prefix = `${tape.config.KAFKA_GROUP}_stream_`;
    const kafka = openBroker(tape.config, "test", quiet);
    const admin = kafka.admin();
    await admin.connect();
    await admin.setOffsets({
      groupId: `${prefix}dead`,
      topic: tape.config.KAFKA_TOPIC,
      partitions: [{ partition: 0, offset: "0" }],
    });
    const groups = async () =>
      (await admin.listGroups()).groups.map(({ groupId }) => groupId).filter((id) => id.startsWith(prefix));
    assert.deepEqual(await groups(), [`${prefix}dead`]);
    await withStream(tape, {}, async () => {
      const living = await groups();
      assert.equal(living.length, 1);
      assert.notEqual(living[0], `${prefix}dead`);
    });
    assert.deepEqual(await groups(), []);
    await admin.disconnect();
  });
});

Deno.test("stream: wrong requests are answered in one line, and what was right goes on", async () => {
  await withMarket(
    { maxClients: 1, limits: { idleMs: 2000, messagesPerSecond: 20 } },
    async ({ url }) => {
      const client = await connect(url);
      client.say({ type: "subscribe", product_ids: ["BTC-USD", "NOPE-USD"], channels: ["ticker"] });
      const error = await client.until("the error", ({ type }) => type === "error");
      assert.deepEqual(error, {
        type: "error",
        message: "Failed to subscribe",
        reason: "NOPE-USD is not a valid product",
      });
      const ack = await client.until("the acknowledgement", ({ type }) => type === "subscriptions");
      assert.deepEqual(ack.channels, [{ name: "ticker", product_ids: ["BTC-USD"] }]);
      client.say({ type: "ping", time: 17 });
      assert.equal((await client.until("the pong", ({ type }) => type === "pong")).time, 17);
      const plain = await fetch(url.replace("ws:", "http:"));
      assert.equal(plain.status, 426);
      assert.equal(await plain.text(), "Expected a WebSocket: connect with ws:// or wss://\n");
      await assert.rejects(connect(url), /503/);
      client.say({ type: "unsubscribe", channels: ["ticker"] });
      await client.until(
        "the empty acknowledgement",
        ({ type, channels }) => type === "subscriptions" && (channels as unknown[]).length === 0,
      );
      assert.deepEqual(await client.closed, { code: 1008, reason: "no subscription" });
      assert.deepEqual(client.messages.at(-1), {
        type: "error",
        message: "No subscription",
        reason: "a client has to follow something within 2 s",
      });
      const fast = await connect(url);
      fast.say({ type: "subscribe", product_ids: ["BTC-USD"], channels: ["ticker"] });
      await fast.until("the acknowledgement", ({ type }) => type === "subscriptions");
      // More than two seconds may hold. It is still talking when it has said too much, and hears why all the same.
      for (let i = 0; i < 1000; i++) fast.say({ type: "ping" });
      assert.deepEqual(await fast.closed, { code: 1008, reason: "at most 20 messages a second" });
      assert.equal(fast.messages.at(-1)?.message, "Rate limit exceeded");
    },
  );
});

Deno.test("stream: frames that no client should send end their own socket and nothing else", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    await withStream(tape, {}, async (stream, url) => {
      const good = await connect(url);
      const wrong = {
        "invalid UTF-8": [0x81, 0x83, 0, 0, 0, 0, 0xff, 0xfe, 0xc0],
        "a tebibyte": [0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "reserved bits": [0xf1, 0x82, 0, 0, 0, 0, 0x7b, 0x7d],
      };
      for (const [what, bytes] of Object.entries(wrong)) {
        const raw = await connectRaw(url);
        await raw.write(new Uint8Array(bytes));
        await tape.until(`the end of ${what}`, () => Promise.resolve(stream.status().clients === 1));
        raw.close();
      }
      const long = await connect(url);
      long.say({ type: "ping", time: "x".repeat(100_000) });
      assert.equal((await long.closed).code, 1009);
      assert.equal(long.messages[0]?.message, "Message too long");
      for (
        const request of [
          { type: "subscribe", product_ids: ["__proto__"], channels: ["constructor"] },
          { type: "subscribe", channels: ["feed_events"], resume: { stream: "x", seq: -1 } },
          { type: "subscribe", channels: ["feed_events"], resume: { stream: "x", seq: 2 ** 60 } },
        ]
      ) good.say(request);
      good.say({ type: "ping", time: "still here" });
      await good.until("the pong", ({ type, time }) => type === "pong" && time === "still here");
      assert.deepEqual(good.messages.map(({ type }) => type), ["error", "error", "error", "pong"]);
      await good.close();
    });
  });
});

Deno.test("stream: sockets have a number, of one client and in all, and who is refused is told when to come again", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    await withStream(tape, { maxClients: 3, maxClientSockets: 2 }, async (stream, url) => {
      const open = [await handshake(`${url}?client=a`), await handshake(`${url}?client=a`)];
      assert.deepEqual(open.map(({ status }) => status), [101, 101]);
      const third = await handshake(`${url}?client=a`);
      assert.equal(third.status, 429);
      assert.match(third.head, /\r\nretry-after: [1-9]\d*\r\n/);
      open.push(await handshake(`${url}?client=b`));
      assert.equal(open[2]?.status, 101);
      const fourth = await handshake(`${url}?client=c`);
      assert.equal(fourth.status, 503);
      assert.match(fourth.head, /\r\nretry-after: [1-9]\d*\r\n/);
      // A place is free again when its socket is closed.
      open.shift()?.end();
      await tape.until("the end of a socket", () => Promise.resolve(stream.status().clients === 2));
      const again = await handshake(`${url}?client=a`);
      assert.equal(again.status, 101);
      for (const { end } of [third, fourth, again, ...open]) end();
      await tape.until("the end of all", () => Promise.resolve(stream.status().clients === 0));
    });
  });
});

Deno.test("stream: a token that is offered as a subprotocol isn't what the server answers with", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    await withStream(tape, {}, async (_stream, url) => {
      const offer = "Sec-WebSocket-Protocol: tapehouse.bearer.c2VjcmV0, tapehouse.v1\r\n";
      const spoken = await handshake(url, offer);
      assert.equal(spoken.status, 101);
      assert.match(spoken.head, /\r\nsec-websocket-protocol: tapehouse\.v1\r\n/);
      assert.doesNotMatch(spoken.head, /bearer/);
      const plain = await handshake(url);
      assert.doesNotMatch(plain.head, /sec-websocket-protocol/);
      spoken.end();
      plain.end();
      // As a browser checks it.
      const client = await connect(url, { protocols: ["tapehouse.v1", "tapehouse.bearer.c2VjcmV0"] });
      assert.equal(client.protocol, "tapehouse.v1");
      await client.close();
    });
  });
});

Deno.test("stream: a client that answers no ping is closed, one that does stays", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    await withStream(tape, { pongSeconds: 1 }, async (stream, url) => {
      const live = await connect(url);
      live.say({ type: "subscribe", channels: ["feed_events"] });
      await live.until("the acknowledgement", ({ type }) => type === "subscriptions");
      const silent = await connectRaw(url);
      await silent.write(maskedFrame('{"type":"subscribe","channels":["feed_events"]}'));
      await tape.until("both", () => Promise.resolve(stream.status().clients === 2));
      await tape.until("the silent one to be gone", () => Promise.resolve(stream.status().clients === 1));
      live.say({ type: "ping", time: 1 });
      await live.until("a pong", ({ type }) => type === "pong");
      silent.close();
      await live.close();
    });
  });
});

Deno.test("stream: candles and books have a number in all, and what nobody follows gives its place away", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const series = { total: 3, idle: 1, newPerMinute: 1000 };
    await withStream(tape, { series }, async (_stream, url) => {
      const [many, other] = [await connect(`${url}?client=a`), await connect(`${url}?client=b`)];
      const candles = (...intervals: string[]) => ({
        type: "subscribe",
        product_ids: ["BTC-USD"],
        channels: intervals.map((interval) => ({ name: "candles", interval })),
      });
      const followed = ({ channels }: Message) =>
        (channels as { interval: string }[]).map(({ interval }) => interval);
      const answerTo = async (client: TestClient, request: object) => {
        const from = client.messages.length;
        client.say(request);
        const ack = await client.until(
          "an answer",
          ({ type }, index) => index >= from && type === "subscriptions",
        );
        const errors = client.messages.slice(from).filter(({ type }) => type === "error").map(({ reason }) =>
          reason
        );
        return { followed: followed(ack), errors };
      };
      assert.deepEqual(await answerTo(many, candles("1m", "2m", "3m", "4m")), {
        followed: ["1m", "2m", "3m"],
        errors: ["too many candles and books of all clients: at most 3, try again later"],
      });
      // What is computed already costs nothing more.
      assert.deepEqual(await answerTo(other, candles("1m", "5m")), {
        followed: ["1m"],
        errors: ["too many candles and books of all clients: at most 3, try again later"],
      });
      many.say({ type: "unsubscribe", channels: ["candles"] });
      // Somebody may be about to come back: not at once.
      await tape.until("a place", async () => (await answerTo(other, candles("1m"))).followed.length > 0);
      await tape.until(
        "what is left to give its place",
        async () => (await answerTo(other, candles("6m"))).followed.join() === "1m,6m",
      );
      await Promise.all([many.close(), other.close()]);
    });
  });
});

Deno.test("stream: a client has so many new candles and books a minute, others have theirs", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    await withStream(tape, { series: { newPerMinute: 3 } }, async (_stream, url) => {
      const [one, other] = [await connect(`${url}?client=a`), await connect(`${url}?client=b`)];
      const request = (intervals: number[]) => ({
        type: "subscribe",
        product_ids: ["BTC-USD"],
        channels: intervals.map((seconds) => ({ name: "candles", interval: `${seconds}s` })),
      });
      const followed = async (client: TestClient) =>
        (await client.until("the acknowledgement", ({ type }) => type === "subscriptions"))
          .channels as unknown[];
      one.say(request([1, 2, 3, 4, 5, 6]));
      assert.equal((await followed(one)).length, 3);
      assert.deepEqual(
        one.messages.filter(({ type }) => type === "error").map(({ reason }) => reason),
        ["too many new candles and books: at most 3 a minute"],
      );
      // Those that somebody follows already aren't new.
      other.say(request([1, 2, 3, 10, 11, 12]));
      assert.equal((await followed(other)).length, 6);
      await Promise.all([one.close(), other.close()]);
    });
  });
});

Deno.test("stream: when messages are lost clients are told, and candles and books begin anew", async () => {
  await withTape(servers, {}, async (tape) => {
    const admin = openBroker(tape.config, "test", quiet).admin();
    await admin.connect();
    // One partition, so that it is known which one loses messages.
    await admin.createTopics({
      topics: [tape.config.KAFKA_TOPIC, tape.config.KAFKA_LEVEL2_TOPIC].map((topic) => ({
        topic,
        numPartitions: 1,
      })),
    });
    await admin.disconnect();
    const producer = openBroker(tape.config, "test", quiet).producer({
      createPartitioner: Partitioners.DefaultPartitioner,
      transactionalId: crypto.randomUUID(),
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    const now = nowMicros();
    const headers = { received_at: String(now), source: "feed", connection: "c-1" };
    /** The end of a transaction takes an offset that no reader is given: to the stream it is a message that is missing. */
    const send = async (topic: string, ...values: object[]) => {
      const transaction = await producer.transaction();
      await transaction.send({
        topic,
        messages: values.map((value) => ({ key: "BTC-USD", value: JSON.stringify(value), headers })),
      });
      await transaction.commit();
    };
    const match = (trade_id: number) => ({
      type: "match",
      trade_id,
      product_id: "BTC-USD",
      time: isoMicros(now + trade_id),
      price: "64000.12",
      size: "0.5",
      side: "buy",
    });
    try {
      await withStream(tape, {}, async (_stream, url) => {
        const client = await connect(url);
        client.say({
          type: "subscribe",
          product_ids: ["BTC-USD"],
          channels: [{ name: "candles", interval: "1w" }, "book"],
        });
        await client.until("the empty snapshot", ({ type }) => type === "candles_snapshot");
        const trades = (count: number) => ({ type, candle }: Message) =>
          type === "candles" && (candle as { trades: number }).trades === count;
        await send(tape.config.KAFKA_TOPIC, match(1), match(2), match(3));
        await client.until("three trades", trades(3));
        // Two that the stream will never hear of are stored.
        await tape.clickhouse.insert({
          table: "trades",
          values: [1, 2, 3, 4, 5].map((trade_id) => ({
            product_id: "BTC-USD",
            trade_id,
            time: isoMicros(now + trade_id).replace("T", " ").replace("Z", ""),
            price: "64000.12",
            size: "0.5",
            taker_side: "sell",
          })),
          format: "JSONEachRow",
        });
        await send(tape.config.KAFKA_TOPIC, match(6));
        const lost = await client.until("the loss", ({ message }) => message === "Messages lost");
        assert.equal(lost.reason, `1 messages of ${tape.config.KAFKA_TOPIC} were missed`);
        let next = 7;
        await tape.until("the stored trades in the candle", async () => {
          await produceMatches(tape, next++, 1);
          return client.messages.some((message) =>
            message.type === "candles" && (message.candle as { trades: number }).trades >= 6
          );
        });
        const counts = client.messages.filter(({ type }) => type === "candles")
          .map(({ candle }) => (candle as { trades: number }).trades);
        assert.ok(!counts.slice(counts.indexOf(3) + 1).some((count) => count < 6), counts.join());

        const snapshot = (price: string) => ({
          type: "snapshot",
          product_id: "BTC-USD",
          bids: [[price, "1"]],
          asks: [["99999", "1"]],
        });
        await send(tape.config.KAFKA_LEVEL2_TOPIC, snapshot("100"));
        await client.until("the book", ({ type }) => type === "book_snapshot");
        await send(tape.config.KAFKA_LEVEL2_TOPIC, snapshot("200"));
        const invalid = await client.until(
          "the end of the book",
          ({ type, reason }) => type === "book_invalid" && /missed/.test(String(reason)),
        );
        assert.equal(invalid.reason, `1 messages of ${tape.config.KAFKA_LEVEL2_TOPIC} were missed`);
        await client.until(
          "the next book",
          ({ type, bids }) => type === "book_snapshot" && JSON.stringify(bids) === '[["200","1"]]',
        );
        await client.close();
      });
    } finally {
      await producer.disconnect();
    }
  });
});

Deno.test("stream: clients are told when Kafka is away, hear on when it is back, and are closed with 1001 at the end", async () => {
  let isAway = false;
  const stopKafka = async () => {
    isAway = true;
    await servers.kafka.stop();
  };
  const startKafka = async () => {
    await servers.startKafka();
    isAway = false;
  };
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    let client: TestClient | undefined;
    await withStream(tape, {}, async (stream, url) => {
      client = await connect(url);
      client.say({ type: "subscribe", product_ids: ["BTC-USD"], channels: ["matches"] });
      await client.until("the acknowledgement", ({ type }) => type === "subscriptions");
      // The first one may come as last_match: it depends on whether ClickHouse has answered.
      await produceMatches(tape, 1, 1);
      await client.until("the first trade", ({ trade_id }) => trade_id === 1);
      await produceMatches(tape, 2, 4);
      await client.until("the fifth trade", ({ trade_id }) => trade_id === 5);
      await stopKafka();
      const error = await client.until(
        "the error",
        ({ type, message }) => type === "error" && message === "No live data",
      );
      assert.match(String(error.reason), /Kafka/);
      assert.equal(stream.status().kafka.ok, false);
      await startKafka();
      await tape.until("the stream to read again", () => Promise.resolve(stream.status().kafka.ok));
      await produceMatches(tape, 6, 5);
      await client.until("the tenth trade", ({ trade_id }) => trade_id === 10);
      assert.deepEqual(
        client.messages.filter(({ type }) => type === "match" || type === "last_match").map(({ trade_id }) =>
          trade_id
        ),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      );
      // The end doesn't wait for a broker, whether it was there before or never.
      await stopKafka();
      await tape.until("the broker to be missed", () => Promise.resolve(!stream.status().kafka.ok));
      const never = openStream({
        config: tape.config,
        clickhouse: tape.clickhouse,
        log: quiet,
        registry: new Registry(),
      });
      await tape.until(
        "the failure to connect",
        () => Promise.resolve(never.status().kafka.reason?.startsWith("Kafka can't be used") === true),
      );
      const hung = Promise.withResolvers<void>();
      const timer = setTimeout(() => hung.reject(new Error("close() hangs")), hangMs);
      await Promise.race([hung.promise, Promise.all([stream.close(), never.close()])]);
      clearTimeout(timer);
    });
    assert.deepEqual(await client?.closed, { code: 1001, reason: "the server stops" });
  }).finally(async () => {
    // Other tests need it, however this one ended.
    if (isAway) await startKafka();
  });
});
