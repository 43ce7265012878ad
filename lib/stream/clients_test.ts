import assert from "node:assert/strict";
import { type ClientLimits, clientLimits, createClients } from "./clients.ts";
import { createHub } from "./hub.ts";

/** Clients over sockets of paper. */
function paperClients(
  limits: Partial<ClientLimits> = {},
  refusal: () => Promise<string | undefined> = () => Promise.resolve(undefined),
) {
  const hub = createHub({ messages: 1000, length: 1e6, ms: 1e6 });
  const dropped: string[] = [];
  const clients = createClients({
    hub,
    simulated: true,
    limits: { ...clientLimits, ...limits },
    refusal,
    opening: () => [],
    aliveSince: () => 0,
    onDropped: (reason) => dropped.push(reason),
    onSent: () => {},
  });
  return {
    hub,
    dropped,
    clients,
    connect() {
      const socket = {
        bufferedAmount: 0,
        texts: [] as string[],
        closed: "",
        send: (text: string) => void socket.texts.push(text),
        close: (code: number, reason: string) => void (socket.closed = `${code} ${reason}`),
      };
      const handle = clients.add(socket);
      return {
        socket,
        ...handle,
        /** Says it and lets it be answered. */
        async say(message: object) {
          handle.receive(JSON.stringify(message));
          await new Promise((resolve) => setTimeout(resolve));
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

Deno.test("a slow client is told, closed, and costs nothing more; the others hear on", async () => {
  const { hub, dropped, clients, connect } = paperClients({ clientBytes: 100 });
  const [slow, fast] = [connect(), connect()];
  await slow.say(subscribe);
  await fast.say(subscribe);
  hub.publish(["matches A-B"], "match", { n: 1 });
  slow.socket.bufferedAmount = 101;
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
  assert.equal(clients.size, 1);
  fast.ended();
  assert.equal(hub.count("matches A-B"), 0);
});

Deno.test("the unread bytes of all clients together have a limit: with more clients each has less", async () => {
  const { hub, connect } = paperClients({ clientBytes: 1000, bytes: 1000 });
  const many = [connect(), connect(), connect(), connect()];
  for (const client of many) await client.say(subscribe);
  many[0]!.socket.bufferedAmount = 251;
  many[1]!.socket.bufferedAmount = 249;
  hub.publish(["matches A-B"], "match", { n: 1 });
  assert.deepEqual(many.map((client) => client.heard().length), [0, 1, 1, 1]);
  for (const client of many) client.ended();
});

Deno.test("in batch mode frames are arrays, and a change of the subscription loses and repeats nothing", async () => {
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

Deno.test("what was missed is sent again as of the number, and then goes on", async () => {
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

Deno.test("too many topics and too many messages have their answers", async () => {
  const { dropped, connect } = paperClients({ topics: 2, messagesPerSecond: 3 });
  const client = connect();
  await client.say({ ...subscribe, product_ids: ["A-B", "C-D", "E-F"] });
  assert.equal(JSON.parse(client.socket.texts[0]!).reason, "too many subscriptions: at most 2");
  assert.equal(JSON.parse(client.socket.texts[1]!).channels[0].product_ids.length, 2);
  for (let i = 0; i < 6; i++) await client.say({ type: "ping" });
  assert.equal(client.socket.closed, "1008 at most 3 messages a second");
  assert.deepEqual(dropped, ["rate"]);
});

Deno.test("candles and books have a limit of their own", async () => {
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

Deno.test("requests that can't be answered yet don't pile up", () => {
  const { dropped, connect } = paperClients({ messagesPerSecond: 3 }, () => new Promise(() => {}));
  const client = connect();
  const now = performance.now;
  try {
    for (let second = 1; second <= 4 && client.socket.closed === ""; second++) {
      performance.now = () => second * 1000;
      for (let i = 0; i < 2; i++) client.receive(JSON.stringify(subscribe));
    }
  } finally {
    performance.now = now;
  }
  assert.equal(client.socket.closed, "1008 at most 3 messages that wait for their answers");
  assert.deepEqual(dropped, ["rate"]);
});

Deno.test("a client that says too much at once is told and sent away", () => {
  const { connect } = paperClients();
  const client = connect();
  client.receive(JSON.stringify({ type: "ping", time: "x".repeat(64 * 1024) }));
  assert.match(
    client.socket.texts[0] ?? "",
    /"message":"Message too long","reason":"a message may have 65536 characters/,
  );
  assert.match(client.socket.closed, /^1009 /);
});
