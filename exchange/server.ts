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
 * Pages of other sites are refused.
 *
 * @module
 */

import { aborted } from "../lib/core/retry.ts";
import { createRateLimit } from "../lib/core/token_bucket.ts";
import { isFromThisMachine } from "../lib/http/foreign_page.ts";
import { Clients } from "./clients.ts";
import { createFaults, type Faults, type FaultState } from "./faults.ts";
import { FeedServer } from "./feed_server.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { type Answer, answer, tooMany } from "./rest_server.ts";
import type { Source } from "./source.ts";

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

/**
 * Starts an exchange.
 *
 * @throws {Deno.errors.AddrInUse} when the port is taken
 */
// deno-lint-ignore require-await -- callers shouldn't depend on the start being synchronous
export async function startExchange(options: ExchangeOptions): Promise<Exchange> {
  const { source, port = 0, record = false, restPerSecond = 10, bufferBytes = 64 << 20 } = options;
  const clients = new Clients();
  const ledger = createLedger(source, record);
  const faults = createFaults(ledger, {
    drop: () => clients.closeAll(1012, "service restart"),
    sendRaw: (text) => clients.sendAll(text),
  });
  const feed = new FeedServer({ source, clients, faults, ledger, bufferBytes });
  const ended = new AbortController();
  const restLimit = createRateLimit({ perSecond: restPerSecond, burst: restPerSecond * 1.5 });
  const takeRequest = () => restLimit("anyone").allowed;
  const cut = new AbortController();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, signal: cut.signal, onListen() {} },
    (request) => handleHttp({ source, faults, ledger, feed, takeRequest, ended: ended.signal }, request),
  );
  const timer = setInterval(() => feed.pump(), turn);
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
      clients.closeAll(1001, "exchange stops");
      // A client that doesn't take part in closing its socket would be waited for for ever.
      const cutting = setTimeout(() => cut.abort(), 1000);
      await Promise.race([server.shutdown(), server.finished]);
      clearTimeout(cutting);
    },
  };
}

/** What HTTP requests are answered from. */
interface Parts {
  source: Source;
  faults: FaultState;
  ledger: Ledger;
  feed: FeedServer;
  /** Whether one more REST request may pass. */
  takeRequest: () => boolean;
  /** The exchange stops: requests that hang are let go. */
  ended: AbortSignal;
}

async function handleHttp(parts: Parts, request: Request): Promise<Response> {
  const { source, faults, ledger, feed, takeRequest, ended } = parts;
  if (!isFromThisMachine(request.headers)) return json(foreign);
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/" && request.headers.get("upgrade")?.toLowerCase() === "websocket") {
    return faults.refusing() ? json(unavailable) : feed.connect(request);
  }
  if (pathname === "/_exchange/ledger") return json({ status: 200, body: ledger.report() });
  if (pathname === "/_exchange/faults") return await injectFault(faults, request);
  if (request.method !== "GET") return json({ status: 405, body: { message: "Method not allowed" } });
  if (!takeRequest()) return json(tooMany);
  const fault = faults.nextRest(pathname);
  if (fault === "hang") await aborted(AbortSignal.any([ended, request.signal]));
  const known = { serves: faults.serves, lag: faults.restLag() };
  return json(answer(source, pathname, searchParams, fault, known));
}

async function injectFault(faults: Faults, request: Request): Promise<Response> {
  if (request.method !== "POST") return json({ status: 405, body: { message: "expected POST" } });
  try {
    faults.inject(await request.json());
    return json({ status: 200, body: {} });
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof SyntaxError)) throw error;
    return json({ status: 400, body: { message: error.message } });
  }
}

const unavailable: Answer = { status: 503, body: { message: "Service unavailable" } };
const foreign: Answer = { status: 403, body: { message: "Pages of other sites are refused" } };

function json({ status, body, text, headers }: Answer): Response {
  if (text !== undefined) {
    return new Response(text, { status, headers: { ...headers, "content-type": "text/html" } });
  }
  return Response.json(body, headers ? { status, headers } : { status });
}
