/**
 * The exchange over real sockets: what a client sees, and each fault.
 *
 * @module
 */

import "../support/clean_environment.ts";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createReplay } from "../../exchange/replayed_recording.ts";
import { type Exchange, type ExchangeOptions, startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { recorded, recordedFrames, recording } from "../support/recording.ts";

interface Message {
  type: string;
  [field: string]: unknown;
}

/** A client that keeps what it gets and lets a test wait for it. */
async function connect(exchange: Exchange) {
  const socket = new WebSocket(exchange.wsUrl);
  const raws: string[] = [];
  let seen = 0;
  let wake = () => {};
  const closed = new Promise<CloseEvent>((resolve) => {
    socket.onclose = (event) => {
      resolve(event);
      wake();
    };
  });
  const opened = new Promise<boolean>((resolve) => {
    socket.onopen = () => resolve(true);
    socket.onerror = () => resolve(false);
  });
  socket.onmessage = ({ data }) => {
    raws.push(data);
    wake();
  };
  ok(await opened, "the exchange refused the connection");
  return {
    socket,
    /** Everything received so far. */
    raws,
    closed,
    send: (message: unknown) => socket.send(typeof message === "string" ? message : JSON.stringify(message)),
    subscribe: (channels: unknown, product_ids: string[] = ["BTC-USD"]) =>
      socket.send(JSON.stringify({ type: "subscribe", product_ids, channels })),
    /** The next frame, in order of arrival, that fits; those before it are passed over. */
    async next(fits: (message: Message) => boolean = () => true): Promise<Message> {
      for (;;) {
        while (seen < raws.length) {
          const message = JSON.parse(raws[seen++] ?? "");
          if (fits(message)) return message;
        }
        ok(socket.readyState === WebSocket.OPEN, "the connection ended while a frame was waited for");
        await new Promise<void>((resolve) => wake = resolve);
      }
    },
    async close() {
      socket.close();
      await closed;
    },
  };
}

type Client = Awaited<ReturnType<typeof connect>>;

const ofType = (type: string) => (message: Message) => message.type === type;
const simulation = () => createSimulation({ products: ["BTC-USD", "ETH-USD"], rate: 200 });

/** Runs a test against an exchange of its own and stops it. */
async function withExchange(
  use: (exchange: Exchange, client: Client) => Promise<void>,
  options: Partial<ExchangeOptions> = {},
) {
  const exchange = await startExchange({ source: simulation(), restPerSecond: 1000, ...options });
  const client = await connect(exchange);
  try {
    await use(exchange, client);
  } finally {
    await exchange.stop();
    await client.closed;
  }
}

async function get(exchange: Exchange, path: string) {
  const response = await fetch(exchange.restUrl + path);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

Deno.test("exchange: a subscriber gets the acknowledgement, then product by product snapshot, ticker and last match", () =>
  withExchange(async (_, client) => {
    client.subscribe(["ticker", "matches", "heartbeat", "level2_batch"], ["BTC-USD", "XXX-USD", "ETH-USD"]);
    const first: Message[] = [];
    for (let i = 0; i < 8; i++) first.push(await client.next());
    deepEqual(first.map(({ type, product_id, reason }) => [type, product_id ?? reason]), [
      ["error", "XXX-USD is not a valid product"],
      ["subscriptions", undefined],
      ["snapshot", "BTC-USD"],
      ["ticker", "BTC-USD"],
      ["last_match", "BTC-USD"],
      ["snapshot", "ETH-USD"],
      ["ticker", "ETH-USD"],
      ["last_match", "ETH-USD"],
    ]);
    await client.next(ofType("l2update"));
  }));

Deno.test("exchange: live trades go on from the last match without a gap, and the heartbeat names the last one", () =>
  withExchange(async (_, client) => {
    client.subscribe(["matches", "heartbeat"]);
    let last = (await client.next(ofType("last_match"))).trade_id as number;
    for (let beats = 0; beats < 2;) {
      const message = await client.next(({ type }) => type === "match" || type === "heartbeat");
      if (message.type === "match") equal(message.trade_id, ++last);
      else {
        equal(message.last_trade_id, last);
        beats++;
      }
    }
  }));

Deno.test("exchange: REST gives the trades that the feed gave", () =>
  withExchange(async (exchange, client) => {
    client.subscribe(["matches"]);
    const told: Message[] = [];
    while (told.length < 50) told.push(await client.next(ofType("match")));
    const { body } = await get(
      exchange,
      `/products/BTC-USD/trades?limit=50&after=${told[49]?.trade_id as number + 1}`,
    );
    deepEqual(
      body.toReversed(),
      told.map(({ trade_id, side, size, price, time }) => ({ trade_id, side, size, price, time })),
    );
  }));

Deno.test("exchange: after a restart it goes on with the numbers", async () => {
  const ids: number[] = [];
  for (let run = 0; run < 2; run++) {
    await withExchange(async (_, client) => {
      client.subscribe(["matches"]);
      while (ids.length < (run + 1) * 20) ids.push((await client.next(ofType("match"))).trade_id as number);
    });
  }
  ok((ids[20] ?? 0) > (ids[19] ?? 0));
  // What was made in between can be fetched.
  await withExchange(async (exchange) => {
    const { body } = await get(exchange, `/products/BTC-USD/trades?before=${(ids[0] ?? 0) - 1}&limit=1000`);
    const fetched = new Set(body.map(({ trade_id }: { trade_id: number }) => trade_id));
    ok(ids.every((id) => fetched.has(id)));
  });
});

Deno.test("exchange: two clients get the same frames", () =>
  withExchange(async (exchange, one) => {
    const two = await connect(exchange);
    for (const client of [one, two]) client.subscribe(["ticker", "matches", "level2_batch"]);
    for (const client of [one, two]) await client.next(ofType("last_match"));
    for (const client of [one, two]) for (let i = 0; i < 100; i++) await client.next();
    const from = one.raws.findIndex((raw) => raw === two.raws[4]);
    ok(from > 0);
    const common = Math.min(two.raws.length - 4, one.raws.length - from);
    ok(common > 50);
    deepEqual(one.raws.slice(from, from + common), two.raws.slice(4, 4 + common));
  }));

Deno.test("exchange: unsubscribing ends a channel and is acknowledged", () =>
  withExchange(async (_, client) => {
    client.subscribe(["matches", "heartbeat"]);
    await client.next(ofType("match"));
    client.send({ type: "unsubscribe", channels: ["matches"], product_ids: ["BTC-USD"] });
    const { channels } = await client.next((message) =>
      message.type === "subscriptions" && (message.channels as unknown[]).length === 1
    );
    deepEqual(channels, [{ name: "heartbeat", product_ids: ["BTC-USD"], account_ids: null }]);
    equal((await client.next()).type, "heartbeat");
  }));

Deno.test("exchange: malformed messages are answered and don't end the connection", () =>
  withExchange(async (_, client) => {
    client.send("{");
    deepEqual(await client.next(), { type: "error", message: "Malformed JSON" });
    client.socket.send(new Uint8Array([1, 2, 3]));
    deepEqual(await client.next(), { type: "error", message: "Malformed JSON" });
    client.subscribe(["matches"]);
    await client.next(ofType("match"));
  }));

Deno.test("exchange: a client that doesn't subscribe within five seconds is dropped", () =>
  withExchange(async (exchange, client) => {
    const { code, reason } = await client.closed;
    deepEqual([code, reason], [1008, "no subscription within 5 s"]);
    equal(exchange.connections(), 0);
  }));

Deno.test("exchange: more than a hundred messages a second end the connection", () =>
  withExchange(async (_, client) => {
    do client.send("{}"); while ((await client.next()).message !== "Rate limit exceeded");
    ok(client.raws.length > 100);
    equal((await client.closed).reason, "too many messages");
  }));

Deno.test("exchange: an eleventh client of the same channel and product is refused", () =>
  withExchange(async (exchange, client) => {
    const others = await Promise.all(Array.from({ length: 10 }, () => connect(exchange)));
    for (const other of others) {
      other.subscribe(["matches"]);
      await other.next(ofType("subscriptions"));
    }
    client.subscribe(["matches"]);
    equal((await client.next()).reason, "too many subscriptions to matches of BTC-USD");
    await others[0]?.close();
    // The exchange hears of the end a moment after the client: ask until it has.
    do client.subscribe(["matches"]); while (
      (await client.next(({ type }) => type === "error" || type === "last_match")).type === "error"
    );
  }));

Deno.test("exchange: a client that doesn't read is disconnected, and the exchange can still be stopped", async () => {
  const exchange = await startExchange({ source: simulation(), bufferBytes: 1 << 20 });
  const { hostname, port } = new URL(exchange.restUrl);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  try {
    await connection.write(new TextEncoder().encode(
      `GET / HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    ));
    await connection.read(new Uint8Array(1024));
    equal(exchange.connections(), 1);
    const raw = "x".repeat(5 << 20);
    while (exchange.connections() > 0) {
      exchange.faults.inject({ raw });
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await exchange.stop();
  } finally {
    connection.close();
  }
});

Deno.test("exchange: more REST requests than the limit are answered 429, but for the exchange's own pages", () =>
  withExchange(async (exchange) => {
    const answers = await Promise.all(Array.from({ length: 40 }, () => get(exchange, "/time")));
    const refused = answers.filter(({ status }) => status === 429);
    // 15 at once, and a few more for the time that it takes.
    ok(refused.length >= 15 && refused.length <= 25, `${refused.length} refused`);
    deepEqual(refused[0]?.body, { message: "Public rate limit exceeded" });
    equal((await get(exchange, "/_exchange/ledger")).status, 200);
  }, { restPerSecond: 10 }));

Deno.test("exchange: the ledger knows every frame that was sent and every trade that was made", () =>
  withExchange(async (exchange, client) => {
    client.subscribe(["ticker", "matches", "heartbeat", "level2_batch", "status"]);
    for (let i = 0; i < 500; i++) await client.next();
    client.send({
      type: "unsubscribe",
      channels: ["ticker", "matches", "heartbeat", "level2_batch", "status"],
    });
    await client.next((message) =>
      message.type === "subscriptions" && (message.channels as unknown[]).length === 0
    );
    const received = client.raws.filter((raw) => !raw.startsWith(`{"type":"subscriptions"`));
    deepEqual(exchange.ledger.frames, received);
    const { sent, trades } = exchange.ledger.report();
    const counted: Record<string, number> = {};
    for (const raw of received) {
      const { type } = JSON.parse(raw);
      counted[type] = (counted[type] ?? 0) + 1;
    }
    deepEqual({ ...sent["BTC-USD"], ...sent[""] }, counted);
    const ids = received.map((raw) => JSON.parse(raw)).filter(ofType("match")).map(({ trade_id }) =>
      trade_id
    );
    const { first, last, sent: runs } = trades["BTC-USD"] ?? {};
    deepEqual(runs, [[ids[0], ids.at(-1)]]);
    ok((first ?? Infinity) <= ids[0] && (last ?? 0) >= ids.at(-1));
    equal(trades["ETH-USD"]?.sent.length, 0);
    deepEqual((await get(exchange, "/_exchange/ledger")).body.sent, sent);
  }, { record: true }));

Deno.test("fault: connections are dropped, now and again and again", () =>
  withExchange(async (exchange, client) => {
    exchange.faults.inject({ drop: true });
    equal((await client.closed).code, 1012);
    exchange.faults.inject({ dropEverySeconds: 0.05 });
    for (let i = 0; i < 3; i++) await (await connect(exchange)).closed;
  }));

Deno.test("fault: new connections are refused for a while", () =>
  withExchange(async (exchange) => {
    exchange.faults.inject({ refuseSeconds: 0.3 });
    const socket = new WebSocket(exchange.wsUrl);
    await new Promise((resolve) => socket.onclose = resolve);
    for (let connected = false; !connected;) {
      const again = new WebSocket(exchange.wsUrl);
      connected = await new Promise((resolve) => {
        again.onopen = () => resolve(true);
        again.onclose = () => resolve(false);
      });
    }
  }));

Deno.test("fault: the exchange falls silent with open sockets, and what it kept to itself is on record", () =>
  withExchange(async (exchange, client) => {
    client.subscribe(["matches"]);
    const before = (await client.next(ofType("match"))).trade_id as number;
    exchange.faults.inject({ silenceSeconds: 0.5 });
    let last = before;
    let message = await client.next(ofType("match"));
    // Frames that were under way still arrive; then there is a gap.
    while (message.trade_id === last + 1) [last, message] = [last + 1, await client.next(ofType("match"))];
    ok((message.trade_id as number) > last + 1);
    const runs = exchange.ledger.report().trades["BTC-USD"]?.sent;
    equal(runs?.length, 2);
    deepEqual([runs?.[0]?.[1], runs?.[1]?.[0]], [last, message.trade_id]);
  }));

Deno.test("fault: trades are swallowed, repeated and late, by HTTP, and the ledger names them", () =>
  withExchange(async (exchange, client) => {
    client.subscribe(["matches"]);
    await client.next(ofType("match"));
    const response = await fetch(`${exchange.restUrl}/_exchange/faults`, {
      method: "POST",
      body: JSON.stringify({ swallowTrades: 3, lateTrades: 2, repeatTrades: 1 }),
    });
    deepEqual([response.status, await response.json()], [200, {}]);
    for (let i = 0; i < 30; i++) await client.next(ofType("match"));
    const ids = client.raws.map((raw) => JSON.parse(raw)).filter(ofType("match")).map(({ trade_id }) =>
      trade_id
    );
    const ledger = exchange.ledger.report().trades["BTC-USD"];
    const [swallowed = 0] = ledger?.withheld ?? [];
    deepEqual(ledger?.withheld, [swallowed, swallowed + 1, swallowed + 2]);
    deepEqual(ledger?.late, [swallowed + 3, swallowed + 4]);
    deepEqual(ledger?.repeated, [swallowed + 5]);
    const at = ids.indexOf(swallowed + 5);
    deepEqual(
      ids.slice(at - 1, at + 5),
      [-1, 5, 5, 4, 3, 6].map((step) => swallowed + step),
    );
    // They were made all the same.
    const { body } = await get(exchange, `/products/BTC-USD/trades?after=${swallowed + 3}&limit=3`);
    deepEqual(body.map(({ trade_id }: { trade_id: number }) => trade_id), ledger?.withheld.toReversed());
  }));

Deno.test("fault: heartbeats are swallowed", () =>
  withExchange(async (exchange, client) => {
    client.subscribe(["heartbeat"]);
    await client.next(ofType("subscriptions"));
    exchange.faults.inject({ swallowHeartbeats: 2 });
    const started = Date.now();
    const { time } = await client.next(ofType("heartbeat"));
    ok(Date.parse(time as string) - started > 1900);
  }));

Deno.test("fault: whatever text is wanted reaches every client", () =>
  withExchange(async (exchange, client) => {
    client.subscribe(["heartbeat"]);
    await client.next(ofType("subscriptions"));
    const large = JSON.stringify({ type: "large", text: "x".repeat(5 << 20) });
    for (const raw of [`{"type":"mat`, "\0", large]) exchange.faults.inject({ raw });
    while (!client.raws.includes(large)) await client.next(ofType("large")).catch(() => {});
    deepEqual(client.raws.slice(1).filter((raw) => !raw.includes("heartbeat")), [
      `{"type":"mat`,
      "\0",
      large,
    ]);
  }));

Deno.test("fault: acknowledgements are late", () =>
  withExchange(async (exchange, client) => {
    exchange.faults.inject({ ackDelaySeconds: 0.3 });
    const started = performance.now();
    client.subscribe(["matches"]);
    equal((await client.next()).type, "subscriptions");
    ok(performance.now() - started >= 290);
  }));

Deno.test("fault: a product is refused from now on", () =>
  withExchange(async (exchange, client) => {
    exchange.faults.inject({ assertProduct: "ETH-USD" });
    client.subscribe(["matches"], ["BTC-USD", "ETH-USD"]);
    equal((await client.next()).reason, "ETH-USD is not a valid product");
    deepEqual((await client.next()).channels, [{
      name: "matches",
      product_ids: ["BTC-USD"],
      account_ids: null,
    }]);
  }));

Deno.test("fault: REST answers errors, nothing or a wrong page for some requests", () =>
  withExchange(async (exchange) => {
    const page = "/products/BTC-USD/trades?limit=1&after=100";
    for (const answer of [429, 500] as const) {
      exchange.faults.inject({ rest: { answer, requests: 2 } });
      deepEqual(
        [
          (await get(exchange, page)).status,
          (await get(exchange, page)).status,
          (await get(exchange, page)).status,
        ],
        [answer, answer, 200],
      );
    }
    exchange.faults.inject({ rest: { answer: "wrong page", requests: 1 } });
    ok((await get(exchange, page)).body[0].trade_id > 100);
    equal((await get(exchange, page)).body[0].trade_id, 99);
    exchange.faults.inject({ rest: { answer: "hang", requests: 1 } });
    const hanging = new AbortController();
    const hung = get(exchange, page).then(() => "answered", () => "hung");
    const other = fetch(exchange.restUrl + page, { signal: hanging.signal });
    equal((await other).status, 200);
    await (await other).body?.cancel();
    equal(await Promise.race([hung, Promise.resolve("hangs")]), "hangs");
    // It is let go when the exchange stops: withExchange would hang otherwise.
    void hung;
  }));

Deno.test("fault: a wrong fault is answered 400 with what is wrong", () =>
  withExchange(async (exchange) => {
    const post = async (body: string) => {
      const response = await fetch(`${exchange.restUrl}/_exchange/faults`, { method: "POST", body });
      return [response.status, (await response.json()).message];
    };
    const [status, message] = await post(`{"explode":true}`);
    equal(status, 400);
    match(message, /explode.*there are drop, /);
    equal((await post(`{`))[0], 400);
    equal((await get(exchange, "/_exchange/faults")).status, 405);
  }));

Deno.test("exchange: a page of another site neither makes a fault nor opens a socket", () =>
  withExchange(async (exchange, client) => {
    const port = Number(new URL(exchange.restUrl).port);
    const host = { host: `127.0.0.1:${port}` };
    /** The status of a request with exactly these headers. */
    const send = async (first: string, headers: Record<string, string>, body = "") => {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
      await connection.write(new TextEncoder().encode(`${first} HTTP/1.1\r\n${lines}\r\n${body}`));
      const bytes = new Uint8Array(20);
      await connection.read(bytes);
      connection.close();
      return Number(new TextDecoder().decode(bytes).split(" ")[1]);
    };
    const fault = JSON.stringify({ drop: true });
    const post = (headers: Record<string, string>) =>
      send("POST /_exchange/faults", {
        "content-type": "text/plain",
        "content-length": `${fault.length}`,
        ...headers,
      }, fault);
    const open = (headers: Record<string, string>) =>
      send("GET /", {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        ...headers,
      });
    client.subscribe(["heartbeat"]);
    await client.next(ofType("subscriptions"));
    for (
      const headers of [
        { ...host, origin: "https://example.com" },
        { ...host, origin: "null" },
        { ...host, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" },
        { ...host, "sec-fetch-site": "same-site" },
        { ...host, referer: "https://example.com/" },
        { host: `evil.example:${port}` },
      ]
    ) {
      equal(await post(headers), 403, JSON.stringify(headers));
      equal(await open(headers), 403, JSON.stringify(headers));
    }
    equal(client.socket.readyState, WebSocket.OPEN);
    equal(exchange.connections(), 1);
    equal(await open(host), 101);
    equal(await post(host), 200);
    await client.closed;
  }));

Deno.test("exchange: the real recording arrives byte for byte, and goes on in the second loop without a gap", async () => {
  const expected = await recordedFrames();
  equal(expected.length, recorded.frames);
  await withExchange(async (exchange, client) => {
    client.subscribe(["level2_batch", "matches", "heartbeat"], ["BTC-USD", "ETH-USD"]);
    const ids = new Map<string, number[]>([["BTC-USD", []], ["ETH-USD", []]]);
    for (let i = 0; i < 3 * expected.length; i++) {
      const message = await client.next();
      if (message.type === "match") ids.get(message.product_id as string)?.push(message.trade_id as number);
    }
    // Line 1 is the recording's acknowledgement; ours names the products in the order asked for.
    equal((expected[0] ?? "").replace(`"ETH-USD","BTC-USD"`, `"BTC-USD","ETH-USD"`), client.raws[0]);
    deepEqual(client.raws.slice(1, expected.length), expected.slice(1));
    for (const list of ids.values()) {
      ok(list.length > 180);
      deepEqual(list, list.map((_, i) => (list[0] ?? 0) + i));
    }
    const last = ids.get("BTC-USD")?.at(-1) ?? 0;
    const { body } = await get(exchange, `/products/BTC-USD/trades?after=${last + 1}&limit=1`);
    equal(body[0].trade_id, last);
  }, { source: await createReplay(recording, { speed: Infinity }) });
});

Deno.test("exchange: the task says where it is and that the data isn't real, and Ctrl-C ends it with 0", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-net=127.0.0.1", "--allow-read", "--allow-env", "tasks/exchange.ts", "--port", "0"],
    cwd: new URL("../..", import.meta.url).pathname,
    stdout: "piped",
  }).spawn();
  const stdout = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let output = "";
  while (!output.includes("COINBASE_REST_URL")) {
    const { value, done } = await stdout.read();
    ok(!done, `it ended after ${output}`);
    output += value;
  }
  match(
    output,
    /SIMULATED DATA.*\nCOINBASE_WS_URL=ws:\/\/127\.0\.0\.1:\d+\nCOINBASE_REST_URL=http:\/\/127\.0\.0\.1:\d+\n/,
  );
  child.kill("SIGINT");
  equal((await child.status).code, 0);
  await stdout.cancel();
});
