import assert from "node:assert/strict";
import { type ClientLimits, clientLimits, Clients } from "./clients.ts";
import { Hub } from "./hub.ts";

/** Clients over sockets of paper. */
function paperClients(
  limits: Partial<ClientLimits> = {},
  refusal: () => Promise<string | undefined> = () => Promise.resolve(undefined),
) {
  const hub = new Hub({
    messages: 1000,
    length: 1e6,
    ms: 1e6,
    computed: { messages: 1000, length: 1e6 },
  });
  // While somebody listens, messages are remembered.
  hub.join("others", { deliver() {} });
  const dropped: string[] = [];
  const clients = new Clients({
    hub,
    simulated: true,
    limits: { ...clientLimits, ...limits },
    topics: { refusal, hold: () => () => {}, opening: () => [], aliveSince: () => 0 },
    onDropped: (reason) => dropped.push(reason),
    onSent: () => {},
  });
  return {
    hub,
    dropped,
    clients,
    connect(name = "one") {
      const socket = {
        bufferedAmount: 0,
        texts: [] as string[],
        closed: "",
        send: (text: string) => void socket.texts.push(text),
        close: (code: number, reason: string) => void (socket.closed = `${code} ${reason}`),
      };
      const handle = clients.add(socket, name);
      return {
        socket,
        ...handle,
        /** Says it and lets it be answered. */
        async say(message: object) {
          handle.receive(JSON.stringify(message));
          await new Promise((resolve) => setTimeout(resolve));
        },
        /** How it was closed. */
        async closed() {
          const deadline = performance.now() + 30_000;
          while (socket.closed === "") {
            assert.ok(performance.now() < deadline, "it is never closed");
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
          return socket.closed;
        },
        /** Data messages. */
        heard: () =>
          socket.texts.flatMap((text) => JSON.parse(text)).filter(({ type }) => type === "match").map((
            { n },
          ) => n),
      };
    },
  };
}

const subscribe = { type: "subscribe", product_ids: ["A-B"], channels: ["matches"] };

Deno.test("stream: a slow client is told, closed, and costs nothing more; the others hear on", async () => {
  const { hub, dropped, clients, connect } = paperClients({ clientBytes: 100 });
  const [slow, fast] = [connect(), connect()];
  await slow.say(subscribe);
  await fast.say(subscribe);
  hub.publish(["matches A-B"], "match", { n: 1 });
  slow.socket.bufferedAmount = 101;
  assert.equal(clients.unreadBytes, 101);
  hub.publish(["matches A-B"], "match", { n: 2 });
  hub.publish(["matches A-B"], "match", { n: 3 });
  assert.deepEqual(slow.heard(), [1]);
  assert.deepEqual(JSON.parse(slow.socket.texts.at(-1)!), {
    type: "slow",
    reason: "101 bytes are unread, the limit is 100",
  });
  assert.equal(slow.socket.closed, "1008 slow: 101 bytes are unread, the limit is 100");
  assert.deepEqual(fast.heard(), [1, 2, 3]);
  assert.deepEqual(dropped, ["slow"]);
  assert.deepEqual([clients.size, clients.unreadBytes], [1, 0]);
  fast.ended();
  assert.equal(hub.count("matches A-B"), 0);
});

Deno.test("stream: the unread bytes of all clients together have a limit, and with more clients each has less", async () => {
  const { hub, connect } = paperClients({ clientBytes: 1000, bytes: 1000 });
  const many = [connect(), connect(), connect(), connect()];
  for (const client of many) await client.say(subscribe);
  many[0]!.socket.bufferedAmount = 251;
  many[1]!.socket.bufferedAmount = 249;
  hub.publish(["matches A-B"], "match", { n: 1 });
  assert.deepEqual(many.map((client) => client.heard().length), [0, 1, 1, 1]);
  for (const client of many) client.ended();
});

Deno.test("stream: in batch mode frames are arrays, and a change of the subscription loses and repeats nothing", async () => {
  const { hub, connect } = paperClients();
  const [one, two] = [connect(), connect()];
  await one.say({ ...subscribe, batch: true });
  hub.publish(["matches A-B"], "match", { n: 1 });
  await two.say({ ...subscribe, batch: true });
  hub.publish(["matches A-B"], "match", { n: 2 });
  hub.publish(["matches C-D"], "match", { n: 3 });
  await one.say({ ...subscribe, product_ids: ["C-D"] });
  hub.publish(["matches C-D"], "match", { n: 4 });
  hub.publish(["matches A-B"], "match", { n: 5 });
  await one.say({ type: "unsubscribe", product_ids: ["A-B"] });
  hub.publish(["matches A-B"], "match", { n: 6 });
  hub.publish(["matches C-D"], "match", { n: 7 });
  await one.say({ ...subscribe, batch: false });
  await two.say({ ...subscribe, batch: false });
  hub.publish(["matches A-B"], "match", { n: 8 });
  assert.deepEqual(one.heard(), [1, 2, 4, 5, 7, 8]);
  assert.deepEqual(two.heard(), [2, 5, 6, 8]);
  for (const text of one.socket.texts.slice(0, -2)) assert.ok(text.startsWith("["), text);
  one.ended();
  two.ended();
});

Deno.test("stream: a client joins a batch whose last member is sent away at that moment, and hears on", async () => {
  const { hub, dropped, connect } = paperClients({ clientBytes: 100 });
  const [slow, fast] = [connect(), connect()];
  await slow.say({ ...subscribe, batch: true });
  hub.publish(["matches A-B"], "match", { n: 1 });
  slow.socket.bufferedAmount = 101;
  await fast.say({ ...subscribe, batch: true });
  assert.deepEqual(dropped, ["slow"]);
  hub.publish(["matches A-B"], "match", { n: 2 });
  await fast.say({ type: "unsubscribe", channels: ["matches"] });
  assert.deepEqual(fast.heard(), [2]);
  assert.equal(hub.count("matches A-B"), 0);
  fast.ended();
});

Deno.test("stream: what was missed is sent again as of the number, and then goes on", async () => {
  const { hub, connect } = paperClients();
  for (let n = 1; n <= 5; n++) hub.publish([n === 3 ? "matches C-D" : "matches A-B"], "match", { n });
  for (const batch of [false, true]) {
    const client = connect();
    await client.say({ ...subscribe, batch, resume: { stream: hub.stream, seq: 1 } });
    const ack = client.socket.texts.flatMap((text) => JSON.parse(text))[0];
    assert.equal(ack.resumed, true);
    assert.deepEqual(client.heard(), [2, 4, 5]);
    await client.say({ type: "unsubscribe", channels: ["matches"] });
    client.ended();
  }
});

Deno.test("stream: too many topics and too many messages have their answers", async () => {
  const { dropped, connect } = paperClients({ topics: 2, messagesPerSecond: 3 });
  const client = connect();
  await client.say({ ...subscribe, product_ids: ["A-B", "C-D", "E-F"] });
  assert.equal(JSON.parse(client.socket.texts[0]!).reason, "too many subscriptions: at most 2");
  assert.equal(JSON.parse(client.socket.texts[1]!).channels[0].product_ids.length, 2);
  for (let i = 0; i < 6; i++) await client.say({ type: "ping" });
  assert.equal(await client.closed(), "1008 at most 3 messages a second");
  assert.deepEqual(dropped, ["rate"]);
});

Deno.test("stream: a client that said too much is closed once it is quiet, and until then neither heard nor forgotten", async () => {
  const { hub, clients, connect } = paperClients();
  const client = connect();
  await client.say(subscribe);
  await client.say({ type: "ping", time: "x".repeat(64 * 1024) });
  const told = client.socket.texts.length;
  assert.equal(JSON.parse(client.socket.texts.at(-1)!).message, "Message too long");
  // It talks for longer than the quiet that is waited for.
  for (const until = performance.now() + 500; performance.now() < until;) {
    await client.say({ type: "ping" });
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(client.socket.closed, "");
  }
  hub.publish(["matches A-B"], "match", { n: 1 });
  assert.equal(client.socket.texts.length, told);
  // Its place isn't another's yet.
  assert.deepEqual([clients.size, clients.sizeOf("one")], [1, 1]);
  assert.match(await client.closed(), /^1009 /);
  assert.deepEqual([clients.size, clients.sizeOf("one")], [0, 0]);
});

Deno.test("stream: a client that said too much and never stops is closed all the same", async () => {
  const { connect } = paperClients({ messagesPerSecond: 1 });
  const client = connect();
  const talking = setInterval(() => client.receive(JSON.stringify({ type: "ping" })), 5);
  try {
    assert.match(await client.closed(), /^1008 /);
  } finally {
    clearInterval(talking);
  }
});

Deno.test("stream: candles and books have a limit of their own", async () => {
  const { connect } = paperClients({ computed: 3 });
  const client = connect();
  const candles = (interval: string) => ({ name: "candles", interval });
  await client.say({
    ...subscribe,
    channels: ["matches", candles("1m"), candles("2m"), { name: "book", depth: 1 }],
  });
  await client.say({ ...subscribe, channels: ["ticker", candles("1m"), candles("3m")] });
  const said = client.socket.texts.map((text) => JSON.parse(text));
  assert.deepEqual(said.filter(({ type }) => type === "error").map(({ reason }) => reason), [
    "too many candles and books: at most 3 together",
  ]);
  assert.deepEqual(
    said.at(-1).channels.map(({ name, interval = "" }: Record<string, string>) => `${name}${interval}`),
    ["matches", "ticker", "candles1m", "candles2m", "book"],
  );
  client.ended();
});

Deno.test("stream: requests that can't be answered yet don't pile up", async () => {
  const { dropped, connect } = paperClients({ messagesPerSecond: 3 }, () => new Promise(() => {}));
  const client = connect();
  const now = performance.now;
  try {
    for (let second = 1; second <= 4 && dropped.length === 0; second++) {
      performance.now = () => second * 1000;
      for (let i = 0; i < 2; i++) client.receive(JSON.stringify(subscribe));
    }
  } finally {
    performance.now = now;
  }
  assert.equal(await client.closed(), "1008 at most 3 messages that wait for their answers");
  assert.deepEqual(dropped, ["rate"]);
});

Deno.test("stream: a client that says too much at once is told and sent away", async () => {
  const { connect } = paperClients();
  const client = connect();
  client.receive(JSON.stringify({ type: "ping", time: "x".repeat(64 * 1024) }));
  assert.match(
    client.socket.texts[0] ?? "",
    /"message":"Message too long","reason":"a message may have 65536 characters/,
  );
  assert.match(await client.closed(), /^1009 /);
});

Deno.test("stream: the sockets of one client have their limits together, another client has its own", async () => {
  const { dropped, clients, connect } = paperClients({ computed: 2, workPerSecond: 3 });
  const candles = (interval: string) => ({
    type: "subscribe",
    product_ids: ["A-B"],
    channels: [{ name: "candles", interval }],
  });
  const [one, two, other] = [connect("a"), connect("a"), connect("b")];
  await one.say(candles("1m"));
  await two.say(candles("1m"));
  await two.say(candles("2m"));
  await two.say(candles("3m"));
  const errors = (client: typeof one) =>
    client.socket.texts.map((text) => JSON.parse(text)).filter(({ type }) => type === "error")
      .map(({ reason }) => reason);
  assert.deepEqual(errors(two), ["too many candles and books: at most 2 together"]);
  await other.say(candles("3m"));
  assert.deepEqual(errors(other), []);
  assert.deepEqual([clients.sizeOf("a"), clients.sizeOf("b"), clients.sizeOf("c")], [2, 1, 0]);
  // What both follow counts once, and is free when neither does.
  one.ended();
  await two.say({ type: "unsubscribe", channels: ["candles"] });
  // Six at once are this client's, over all its sockets.
  const third = connect("a");
  for (let i = 0; i < 3; i++) await third.say({ type: "ping" });
  assert.match(await third.closed(), /^1008 the sockets of this client ask for too much/);
  assert.deepEqual(dropped, ["rate"]);
  await other.say({ type: "ping" });
  assert.equal(other.socket.closed, "");
  assert.equal(clients.sizeOf("a"), 1);
  two.ended();
  other.ended();
  assert.equal(clients.sizeOf("a"), 0);
});

Deno.test("stream: a request about many topics costs as much as many requests", async () => {
  const { connect } = paperClients({ topics: 2000, workPerSecond: 20 });
  const client = connect();
  const products = Array.from({ length: 1000 }, (_, index) => `P${index}-USD`);
  await client.say({ type: "subscribe", product_ids: products, channels: ["matches"] });
  assert.equal(client.socket.closed, "");
  await client.say({ type: "unsubscribe", channels: ["matches"] });
  assert.match(await client.closed(), /^1008 /);
});

Deno.test("stream: a client that comes back and reads slowly gets all that it missed, at its pace", async () => {
  const { hub, connect, dropped } = paperClients();
  const text = "x".repeat(40 * 1024);
  for (let n = 1; n <= 6; n++) hub.publish(["matches A-B"], "match", { n, text });
  const client = connect();
  client.socket.bufferedAmount = 1e5;
  await client.say({ ...subscribe, resume: { stream: hub.stream, seq: 1 } });
  const first = client.heard();
  assert.ok(first.length < 5, "it isn't handed all of it while it doesn't read");
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.deepEqual(client.heard(), first);
  hub.publish(["matches A-B"], "match", { n: 7, text });
  client.socket.bufferedAmount = 0;
  while (client.heard().length < 6) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(client.heard(), [2, 3, 4, 5, 6, 7]);
  assert.deepEqual(dropped, []);
  client.ended();
});

Deno.test("stream: a client that reads so slowly that what it missed is forgotten meanwhile is told and sent away", async () => {
  const { hub, connect, dropped } = paperClients();
  const text = "x".repeat(40 * 1024);
  for (let n = 1; n <= 6; n++) hub.publish(["matches A-B"], "match", { n, text });
  const client = connect();
  client.socket.bufferedAmount = 1e5;
  await client.say({ ...subscribe, resume: { stream: hub.stream, seq: 1 } });
  // The ring holds a million characters.
  for (let n = 7; n <= 40; n++) hub.publish(["matches A-B"], "match", { n, text });
  client.socket.bufferedAmount = 0;
  while (client.socket.closed === "") await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(client.socket.closed, "1008 slow: what was missed is no longer remembered");
  assert.deepEqual(dropped, ["slow"]);
});
