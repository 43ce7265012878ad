/**
 * The made-up API's stream: who listens to what, and the market that moves 20 times a second.
 *
 * @module
 */

import { streamProtocol } from "../../../lib/http/subprotocol.ts";
import { isoMicros, nowMicros } from "../../../lib/core/time.ts";
import { candleAt, candlesUntil, secondsOf } from "./candles.ts";
import { chance } from "./chance.ts";
import { makeTrade, type Market, matchOf } from "./fake_market.ts";
import { bookOf, tickerOf } from "./quotes.ts";
import type { World } from "./world.ts";

/** The stream while it runs. */
export interface Stream {
  readonly clients: number;
  /** Makes a WebSocket of a request. */
  accept(request: Request): Response;
  close(): void;
}

interface Client {
  socket: WebSocket;
  /** Products by channel; `candles 5m` is one. */
  wanted: Map<string, Set<string>>;
  queue: Record<string, unknown>[];
}

/** A channel of a subscription, as the page asks for it. */
interface Channel {
  name: string;
  product_ids: string[];
  interval?: string;
  depth?: number;
}

interface Heard {
  type: string;
  time?: unknown;
  resume?: { stream: string };
  channels?: Channel[];
}

/**
 * Starts the market.
 *
 * @param rate trades a second
 */
export function openStream(world: World, rate: number): Stream {
  const id = crypto.randomUUID();
  const clients = new Set<Client>();
  let seq = 0;
  const publish = (channel: string, product: string, message: Record<string, unknown>) => {
    seq++;
    for (const client of clients) {
      if (client.wanted.get(channel)?.has(product)) client.queue.push({ seq, ...message });
    }
  };

  let owed = 0;
  let ticks = 0;
  const timer = setInterval(() => {
    owed += rate / 20;
    ticks++;
    const touched = new Set<Market>();
    while (owed >= 1) {
      owed--;
      const market = chooseMarket(world.markets, `${seq}${ticks}${owed}`);
      publish("matches", market.id, matchOf(makeTrade(market)));
      touched.add(market);
    }
    for (const market of touched) {
      if (ticks % 4 === 0) publish("ticker", market.id, tickerOf(world, market));
      if (ticks % 2 !== 0) continue;
      publish("book", market.id, { type: "book", ...bookOf(market, 50) });
      for (const interval of intervalsWanted(clients, market.id)) {
        const message = candleNow(world, market, interval);
        if (message !== null) publish(`candles ${interval}`, market.id, message);
      }
    }
    for (const client of clients) flush(client);
  }, 50);

  return {
    get clients() {
      return clients.size;
    },
    accept(request) {
      const { socket, response } = Deno.upgradeWebSocket(request, { protocol: streamProtocol });
      const client: Client = { socket, wanted: new Map(), queue: [] };
      socket.onopen = () => clients.add(client);
      socket.onclose = () => clients.delete(client);
      socket.onmessage = ({ data }) => {
        for (const reply of replies(world, client, JSON.parse(data), { stream: id, seq })) {
          socket.send(JSON.stringify(reply));
        }
      };
      return response;
    },
    close() {
      clearInterval(timer);
      for (const { socket } of clients) socket.close();
    },
  };
}

/** One of them, the first ones most often. */
function chooseMarket(markets: Market[], roll: string): Market {
  const place = Math.floor(chance(roll) ** 2.5 * markets.length);
  return markets[place] ?? markets[0]!;
}

function flush({ socket, queue }: Client): void {
  if (queue.length > 0 && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(queue.splice(0)));
}

/** Intervals whose candles of a product anybody wants. */
function intervalsWanted(clients: Set<Client>, product: string): Set<string> {
  const names = [...clients].flatMap(({ wanted }) =>
    [...wanted].flatMap(([name, products]) => products.has(product) ? [name] : [])
  );
  return new Set(names.filter((name) => name.startsWith("candles ")).map((name) => name.slice(8)));
}

/** The message of the candle that grows now; null when it has no trade yet. */
function candleNow(world: World, market: Market, interval: string) {
  const step = secondsOf(interval) ?? 60;
  const start = Math.floor(Date.now() / 1000 / step) * step;
  const candle = candleAt(world, market, start, step);
  return candle === null ? null : { type: "candles", product_id: market.id, interval, candle };
}

/** Takes in what a client says; what it is told. */
function replies(
  world: World,
  client: Client,
  heard: Heard,
  position: { stream: string; seq: number },
): unknown[] {
  if (heard.type === "ping") {
    return [{ type: "pong", time: heard.time, server_time: isoMicros(nowMicros()) }];
  }
  const resumed = heard.resume?.stream === position.stream;
  const added = changeWanted(world.markets, client, heard);
  const channels = [...client.wanted].map(([name, products]) => ({ name, product_ids: [...products] }));
  const answer = { type: "subscriptions", ...position, resumed, simulated: true, channels };
  const snapshots = resumed ? [] : added.flatMap(([channel, market]) => snapshotOf(world, channel, market));
  if (snapshots.length === 0) return [answer];
  return [answer, snapshots.map((snapshot) => ({ seq: position.seq, ...snapshot }))];
}

/** Subscribes or unsubscribes; each channel and product that was subscribed. */
function changeWanted(
  markets: Market[],
  client: Client,
  { type, channels = [] }: Heard,
): [Channel, Market][] {
  const added: [Channel, Market][] = [];
  for (const channel of channels) {
    const name = channel.name === "candles" ? `candles ${channel.interval}` : channel.name;
    const products = client.wanted.get(name) ?? new Set<string>();
    client.wanted.set(name, products);
    for (const product of channel.product_ids) {
      const market = markets.find(({ id }) => id === product);
      if (type === "unsubscribe") {
        products.delete(product);
      } else if (market !== undefined) {
        products.add(product);
        added.push([channel, market]);
      }
    }
  }
  return added;
}

/** What a new subscriber of a channel gets first. */
function snapshotOf(world: World, channel: Channel, market: Market): Record<string, unknown>[] {
  const last = market.trades.at(-1);
  switch (channel.name) {
    case "ticker":
      return [tickerOf(world, market)];
    case "matches":
      return last === undefined ? [] : [matchOf(last, "last_match")];
    case "book":
      return [{ type: "book_snapshot", ...bookOf(market, channel.depth ?? 20) }];
    case "candles": {
      const { interval = "1m" } = channel;
      const step = secondsOf(interval) ?? 60;
      const candles = candlesUntil(world, market, step, Date.now() / 1000, 300).data;
      return [{ type: "candles_snapshot", product_id: market.id, interval, candles }];
    }
    default:
      return [];
  }
}
