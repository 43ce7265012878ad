/**
 * A Coinbase Exchange on this machine: WebSocket feed and REST on one port, over a simulated or replayed market.
 *
 * | path | what |
 * |---|---|
 * | `/` | the WebSocket feed |
 * | `/time`, `/products`, `/products/{id}`, `…/trades`, `…/book`, `…/candles`, `…/ticker`, `…/stats` | REST |
 * | `GET /_exchange/ledger` | what was made and sent (`LedgerReport`) |
 * | `POST /_exchange/faults` | a `Fault` as JSON |
 *
 * @module
 */

import { createFaults, type Faults } from "./faults.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { acknowledgement, applyMessage, errorFrame, type Subscriptions } from "./protocol.ts";
import { type Answer, answer } from "./rest.ts";
import type { Channel, Frame, Source } from "./source.ts";

/** How to serve. */
export interface ExchangeOptions {
  source: Source;
  /** On 127.0.0.1; 0 takes a free one. @default 0 */
  port?: number;
  /** Whether the ledger keeps every frame. @default false */
  record?: boolean;
  /** REST requests a second; bursts may be half as large again. @default 10 */
  restPerSecond?: number;
  /** A client that leaves more bytes than this unread is disconnected. @default 67108864 */
  bufferBytes?: number;
}

/** A running exchange. */
export interface Exchange {
  /** Such as `ws://127.0.0.1:8765`. */
  wsUrl: string;
  /** Such as `http://127.0.0.1:8765`. */
  restUrl: string;
  ledger: Ledger;
  faults: Faults;
  /** Clients connected at this moment. */
  connections(): number;
  /** Closes all connections and the port. */
  stop(): Promise<void>;
}

/** ms between two looks at the market. */
const turn = 5;
/** A client that hasn't subscribed after so many ms is dropped. */
const subscribeLimit = 5000;
const messagesPerSecond = 100;
/** Clients that may follow one channel of one product. */
const subscribersPerStream = 10;
/** A patient source waits while a client has more bytes than this to read. */
const patience = 1 << 20;

interface Client {
  socket: WebSocket;
  subscriptions: Subscriptions;
  /** Messages of this second. */
  second: number;
  messages: number;
  deadline: ReturnType<typeof setTimeout>;
}

/**
 * Starts an exchange.
 *
 * @throws {Deno.errors.AddrInUse} when the port is taken
 */
// deno-lint-ignore require-await -- callers shouldn't depend on the start being synchronous
export async function startExchange(options: ExchangeOptions): Promise<Exchange> {
  const { source, port = 0, record = false, restPerSecond = 10, bufferBytes = 64 << 20 } = options;
  const clients = new Set<Client>();
  /** Who follows what. */
  const streams = new Map<string, Set<Client>>();
  const ledger = createLedger(source, record);
  const faults = createFaults(ledger, { drop: dropAll, sendRaw: (text) => toAll(text) });
  const ended = new AbortController();
  const delisted = new Set(source.delisted);
  const takeRequest = tokenBucket(restPerSecond, restPerSecond * 1.5);

  const wanted = (channel: Channel, product: string) => streams.has(streamKey(channel, product));

  function dropAll() {
    for (const client of clients) close(client, 1012, "service restart");
  }

  function toAll(text: string) {
    for (const { socket } of clients) send(socket, text);
  }

  /** Whether the text is on its way. */
  function send(socket: WebSocket, text: string): boolean {
    if (socket.readyState !== WebSocket.OPEN) return false;
    socket.send(text);
    return true;
  }

  function close(client: Client, code: number, reason: string) {
    forget(client);
    if (client.socket.readyState <= WebSocket.OPEN) client.socket.close(code, reason);
  }

  function forget(client: Client) {
    clearTimeout(client.deadline);
    clients.delete(client);
    for (const [channel, products] of client.subscriptions) {
      for (const product of products) leave(client, channel, product);
    }
    client.subscriptions.clear();
  }

  function leave(client: Client, channel: Channel, product: string) {
    const key = streamKey(channel, product);
    const members = streams.get(key);
    members?.delete(client);
    if (members?.size === 0) streams.delete(key);
  }

  function pump() {
    if (source.patient) {
      for (const { socket } of clients) if (socket.bufferedAmount > patience) return;
    }
    for (const frame of source.pull(wanted)) {
      const passed = faults.pass(frame);
      for (const [i, out] of passed.entries()) deliver(out, passed[i - 1] === out);
    }
    for (const client of clients) {
      if (client.socket.bufferedAmount > bufferBytes) close(client, 1008, "slow reader");
    }
  }

  function deliver(frame: Frame, again: boolean) {
    const members = streams.get(streamKey(frame.channel, frame.product));
    if (!members || faults.silent()) return;
    let reached = 0;
    for (const { socket } of members) if (send(socket, frame.text)) reached++;
    ledger.sent(frame, reached, again);
  }

  function receive(client: Client, data: unknown) {
    const second = Math.floor(performance.now() / 1000);
    if (second !== client.second) [client.second, client.messages] = [second, 0];
    if (++client.messages > messagesPerSecond) {
      send(client.socket, errorFrame("Rate limit exceeded"));
      return close(client, 1008, "too many messages");
    }
    const delay = faults.ackDelayMs();
    if (delay === 0) return handle(client, data);
    setTimeout(() => handle(client, data), delay);
  }

  function handle(client: Client, data: unknown) {
    if (!clients.has(client) || faults.silent()) return;
    const products = new Set(source.products.map(({ id }) => id));
    for (const product of faults.refusedProducts) products.delete(product);
    const text = typeof data === "string" ? data : "";
    const outcome = applyMessage(client.subscriptions, text, { products, delisted });
    for (const [channel, product] of outcome.removed) leave(client, channel, product);
    const errors = [...outcome.errors];
    const added = outcome.added.filter(([channel, product]) => {
      const members = streams.get(streamKey(channel, product));
      if (channel === "status" || !members || members.size < subscribersPerStream) return true;
      const own = client.subscriptions.get(channel);
      own?.delete(product);
      if (own?.size === 0) client.subscriptions.delete(channel);
      errors.push(errorFrame("Failed to subscribe", `too many subscriptions to ${channel} of ${product}`));
      return false;
    });
    for (const error of errors) send(client.socket, error);
    if (!outcome.acknowledged) return;
    clearTimeout(client.deadline);
    send(client.socket, acknowledgement(client.subscriptions));
    for (const frame of openings(added)) {
      if (send(client.socket, frame.text)) ledger.sent(frame, 1, false);
    }
    for (const [channel, product] of added) {
      const key = streamKey(channel, product);
      const members = streams.get(key) ?? new Set();
      streams.set(key, members.add(client));
    }
    source.start();
  }

  /** Product by product, and for each the book, the last ticker, the last match. */
  function openings(added: [Channel, string][]): Frame[] {
    const order: Channel[] = ["level2_batch", "ticker", "ticker_batch", "matches", "status"];
    const names = new Set(added.map(([, product]) => product));
    return [...names].flatMap((product) =>
      order.filter((channel) => added.some(([c, p]) => c === channel && p === product))
        .flatMap((channel) => source.opening(channel, product))
    );
  }

  function connect(request: Request): Response {
    if (faults.refusing()) return json({ status: 503, body: { message: "Service unavailable" } });
    // Without a timeout of its own: the exchange's clients tell a dead socket by its heartbeats.
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
    const client: Client = {
      socket,
      subscriptions: new Map(),
      second: 0,
      messages: 0,
      deadline: setTimeout(() => close(client, 1008, "no subscription within 5 s"), subscribeLimit),
    };
    clients.add(client);
    socket.onmessage = ({ data }) => receive(client, data);
    socket.onclose = () => forget(client);
    // A client that breaks off is no news; onclose follows.
    socket.onerror = () => {};
    return response;
  }

  async function handleHttp(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/" && request.headers.get("upgrade")?.toLowerCase() === "websocket") {
      return connect(request);
    }
    if (pathname === "/_exchange/ledger") return json({ status: 200, body: ledger.report() });
    if (pathname === "/_exchange/faults") return await control(request);
    if (request.method !== "GET") return json({ status: 405, body: { message: "Method not allowed" } });
    if (!takeRequest()) return json(tooMany);
    const fault = faults.nextRest();
    if (fault === 429) return json(tooMany);
    if (fault === 500) return json({ status: 500, body: { message: "Internal server error" } });
    if (fault === "hang") await aborted(AbortSignal.any([ended.signal, request.signal]));
    return json(answer(source, pathname, searchParams, fault, faults.serves));
  }

  async function control(request: Request): Promise<Response> {
    if (request.method !== "POST") return json({ status: 405, body: { message: "expected POST" } });
    try {
      faults.inject(await request.json());
      return json({ status: 200, body: {} });
    } catch (error) {
      if (!(error instanceof RangeError || error instanceof SyntaxError)) throw error;
      return json({ status: 400, body: { message: error.message } });
    }
  }

  const cut = new AbortController();
  const server = Deno.serve({ hostname: "127.0.0.1", port, signal: cut.signal, onListen() {} }, handleHttp);
  const timer = setInterval(pump, turn);
  const address = `127.0.0.1:${server.addr.port}`;
  return {
    wsUrl: `ws://${address}`,
    restUrl: `http://${address}`,
    ledger,
    faults,
    connections: () => clients.size,
    async stop() {
      clearInterval(timer);
      faults.stop();
      ended.abort();
      for (const client of clients) close(client, 1001, "exchange stops");
      // A client that doesn't take part in closing its socket would be waited for for ever.
      const cutting = setTimeout(() => cut.abort(), 1000);
      await Promise.race([server.shutdown(), server.finished]);
      clearTimeout(cutting);
    },
  };
}

const tooMany: Answer = { status: 429, body: { message: "Public rate limit exceeded" } };

function streamKey(channel: Channel, product: string): string {
  return `${channel} ${product}`;
}

function json({ status, body, headers }: Answer): Response {
  return Response.json(body, headers ? { status, headers } : { status });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** Says whether one more request may pass. */
function tokenBucket(perSecond: number, burst: number): () => boolean {
  let tokens = burst;
  let at = performance.now();
  return () => {
    const now = performance.now();
    tokens = Math.min(burst, tokens + (now - at) / 1000 * perSecond);
    at = now;
    if (tokens < 1) return false;
    tokens--;
    return true;
  };
}
