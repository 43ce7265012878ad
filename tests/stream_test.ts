/**
 * The stream over real sockets, Kafka and ClickHouse: what clients hear is compared with what the exchange sent and with
 * what ClickHouse says afterwards.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Partitioners } from "kafkajs";
import { Registry } from "prom-client";
import { createLagReader } from "../lib/api/lag.ts";
import { openBroker } from "../lib/broker.ts";
import { openFeed } from "../lib/coinbase/feed.ts";
import { type Exchange, startExchange } from "../lib/coinbase/exchange/server.ts";
import { createSimulation } from "../lib/coinbase/exchange/simulation.ts";
import { createLogger } from "../lib/log.ts";
import { openStream, type Stream, type StreamOptions } from "../lib/stream/stream.ts";
import { isoMicros, nowMicros } from "../lib/time.ts";
import { openWarehouse } from "../lib/warehouse.ts";
import { hangMs, type Servers, startServers, type Tape, withTape } from "./tape.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

type Message = Record<string, unknown> & { type: string; seq: number };

const quiet = createLogger({}, { write: () => {} });

/** A client of the stream that keeps all it hears. */
interface TestClient {
  messages: Message[];
  say(message: object): void;
  /** The first message that fits, heard already or still to come. */
  until(what: string, fits: (message: Message, index: number) => boolean): Promise<Message>;
  /** Resolves with the close code. */
  closed: Promise<{ code: number; reason: string }>;
  close(): Promise<void>;
}

async function connect(url: string): Promise<TestClient> {
  const socket = new WebSocket(url);
  const messages: Message[] = [];
  let heard = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    messages.push(...(Array.isArray(frame) ? frame : [frame]));
    heard.resolve();
  };
  socket.onclose = ({ code, reason }) => closed.resolve({ code, reason });
  socket.onerror = () => {};
  await new Promise((resolve) => socket.onopen = resolve);
  return {
    messages,
    say: (message) => socket.send(JSON.stringify(message)),
    async until(what, fits) {
      const timer = setTimeout(
        () => heard.reject(new Error(`never heard: ${what}; last: ${JSON.stringify(messages.slice(-3))}`)),
        hangMs,
      );
      try {
        for (let index = 0;; index++) {
          while (index >= messages.length) {
            heard = Promise.withResolvers();
            await heard.promise;
          }
          if (fits(messages[index]!, index)) return messages[index]!;
        }
      } finally {
        clearTimeout(timer);
      }
    },
    closed: closed.promise,
    async close() {
      socket.close();
      await closed.promise;
    },
  };
}

/** A stream on a port of its own. */
async function withStream(
  tape: Tape,
  options: Partial<StreamOptions>,
  body: (stream: Stream, url: string) => Promise<void>,
): Promise<void> {
  const stream = openStream({
    config: tape.config,
    warehouse: tape.warehouse,
    log: quiet,
    registry: new Registry(),
    ...options,
  });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => stream.upgrade(request),
  );
  try {
    await tape.until(
      "the stream to read from Kafka",
      () => Promise.resolve(stream.status().kafka.ok),
    );
    await body(stream, `ws://127.0.0.1:${server.addr.port}/api/stream`);
  } finally {
    await stream.close();
    await server.shutdown();
  }
}

interface Market {
  tape: Tape;
  exchange: Exchange;
  stream: Stream;
  url: string;
}

const products = ["BTC-USD", "ETH-USD"];

/** A simulated market that is produced, stored and streamed. */
async function withMarket(
  options: Partial<StreamOptions> & { channels?: string },
  body: (market: Market) => Promise<void>,
): Promise<void> {
  const exchange = await startExchange({ source: createSimulation({ rate: 300, products }), record: true });
  const env = {
    COINBASE_WS_URL: exchange.wsUrl,
    COINBASE_REST_URL: exchange.restUrl,
    COINBASE_PRODUCTS: products.join(),
    FEED_SOURCE: "simulator",
  };
  try {
    await withTape(servers, env, async (tape) => {
      await Promise.all([tape.start("consumer"), tape.start("producer")]);
      await tape.until(
        "the first trades",
        async () => Number(await tape.value("SELECT count() FROM trades")) > 50,
      );
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

Deno.test("clients hear each trade once and in order, as the exchange sent it", async () => {
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

Deno.test("a candle that has closed equals the view's row, the one that was open at the start too", async () => {
  await withMarket({}, async (market) => {
    const { tape, url } = market;
    const client = await connect(url);
    const interval = "3s";
    client.say({ type: "subscribe", product_ids: products, channels: [{ name: "candles", interval }] });
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

Deno.test("the book equals book_at at the moment of each message", async () => {
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

Deno.test("a client that comes back in time loses nothing and hears nothing twice", async () => {
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

Deno.test("the project's own Coinbase client follows the stream as if it were the exchange", async () => {
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
    for await (const event of feed) {
      const name = event.kind === "frame" ? event.type : event.event;
      counts[name] = (counts[name] ?? 0) + 1;
      const { match = 0, ticker = 0, heartbeat = 0 } = counts;
      if (match >= 200 && ticker >= 100 && heartbeat >= 2) stop.abort();
    }
    assert.equal(counts.connected, 1);
    assert.equal(counts.subscribed, 2);
    assert.equal(counts.last_match, 2);
    for (const bad of ["gap", "error", "refused", "not_acknowledged", "silent"]) {
      assert.equal(counts[bad], undefined);
    }
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

/** The topics of a tape without a producer. */
async function makeTopics(tape: Tape): Promise<void> {
  const admin = openBroker(tape.config, "test", quiet).admin();
  await admin.connect();
  await admin.createTopics({
    topics: [tape.config.KAFKA_TOPIC, tape.config.KAFKA_LEVEL2_TOPIC].map((topic) => ({
      topic,
      numPartitions: 2,
    })),
  });
  await admin.disconnect();
}

Deno.test("a client that stops reading is told and sent away, and others hear all", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const limits = { clientBytes: 256 * 1024 };
    await withStream(tape, { limits }, async (stream, url) => {
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

/** A text frame as a client sends it; the mask is zero. */
function maskedFrame(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(text);
  assert.ok(bytes.length < 126);
  return new Uint8Array([0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes]);
}

Deno.test("trades that are repeated are heard once, and late ones say that they are", async () => {
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

Deno.test("without ClickHouse the live data goes on, and what is missing is told", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const warehouse = openWarehouse({ ...tape.config, CLICKHOUSE_URL: "http://127.0.0.1:1" });
    await withStream(tape, { warehouse }, async (_stream, url) => {
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
    await warehouse.close();
  });
});

Deno.test("an anomaly is heard when it is stored and when it ends, by those who follow its product or all", async () => {
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    const store = (product_id: string, kind: string, end_time: string | null) =>
      tape.warehouse.insert({
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
    await tape.warehouse.command({ query: "RENAME TABLE anomalies_state TO anomalies_away" });
    await withStream(tape, {}, async (_stream, url) => {
      const [all, one, other] = [await connect(url), await connect(url), await connect(url)];
      all.say({ type: "subscribe", channels: ["anomalies"] });
      one.say({ type: "subscribe", product_ids: ["BTC-USD"], channels: ["anomalies"] });
      other.say({ type: "subscribe", product_ids: ["ETH-USD"], channels: ["anomalies"] });
      const error = await all.until("that there are none yet", ({ type }) => type === "error");
      assert.match(String(error.reason), /anomalies wait for ClickHouse/);
      await tape.warehouse.command({ query: "RENAME TABLE anomalies_away TO anomalies_state" });
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

Deno.test("the lag is what the consumer hasn't stored of what was produced", async () => {
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

Deno.test("groups that killed instances left behind are deleted at a start, one's own at the end", async () => {
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

Deno.test("wrong requests are answered in one line, and what was right goes on", async () => {
  await withMarket({ maxClients: 1, limits: { idleMs: 2000, messagesPerSecond: 20 } }, async ({ url }) => {
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
    await assert.rejects(connectOrFail(url));
    client.say({ type: "unsubscribe", channels: ["ticker"] });
    await client.until(
      "the empty acknowledgement",
      ({ type, channels }) => type === "subscriptions" && (channels as unknown[]).length === 0,
    );
    assert.deepEqual(await client.closed, { code: 1008, reason: "no subscription" });
    const fast = await connect(url);
    for (let i = 0; i < 21; i++) fast.say({ type: "ping" });
    assert.equal((await fast.closed).code, 1008);
  });
});

function connectOrFail(url: string): Promise<void> {
  const socket = new WebSocket(url);
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = (event) => reject(new Error((event as ErrorEvent).message));
  });
}

Deno.test("frames that no client should send end their own socket and nothing else", async () => {
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

Deno.test("clients are told when Kafka is away, hear on when it is back, and are closed with 1001 at the end", async () => {
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
      await servers.kafka.stop();
      const error = await client.until(
        "the error",
        ({ type, message }) => type === "error" && message === "No live data",
      );
      assert.match(String(error.reason), /Kafka/);
      assert.equal(stream.status().kafka.ok, false);
      await servers.startKafka();
      await tape.until("the stream to read again", () => Promise.resolve(stream.status().kafka.ok));
      await produceMatches(tape, 6, 5);
      await client.until("the tenth trade", ({ trade_id }) => trade_id === 10);
      assert.deepEqual(
        client.messages.filter(({ type }) => type === "match" || type === "last_match").map(({ trade_id }) =>
          trade_id
        ),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      );
      // The end doesn't wait for a broker, whether it was there before or never; it is the file's last test.
      await servers.kafka.stop();
      await tape.until("the broker to be missed", () => Promise.resolve(!stream.status().kafka.ok));
      const never = openStream({
        config: tape.config,
        warehouse: tape.warehouse,
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
  });
});
