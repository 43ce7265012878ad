/**
 * An exchange that somebody else might have written from Coinbase's documents: WebSocket feed and REST on one port, with
 * nothing of tapehouse's own simulator in it. It drops, repeats, delays and spoils what it sends, and knows for itself
 * which trades it made and what their candles are.
 *
 * @module
 */

import { framesInstead, goodManners, type Manners } from "./stranger_exchange/manners.ts";
import {
  changeBook,
  createListing,
  createRandom,
  heartbeatOf,
  makeDeal,
  matchOf,
  type MinuteCandle,
  minutesOf,
  tickerOf,
} from "./stranger_exchange/market.ts";
import { answerRest, failure } from "./stranger_exchange/rest.ts";
import { type Listener, welcome } from "./stranger_exchange/subscriptions.ts";

/** The exchange while it runs. */
export interface StrangerExchange {
  wsUrl: string;
  restUrl: string;
  /** How often it misbehaved, by manner. */
  done: Manners;
  /** Trades from now on; until then there are only heartbeats and books. */
  open(): void;
  /** No more trades from now on; heartbeats go on, and everything is sent as it should be. */
  close(): void;
  /** First and last id of each product. */
  ids(): Map<string, { first: number; last: number }>;
  /** `PRODUCT UNIX` → candle. */
  minutes(): Map<string, MinuteCandle>;
  stop(): Promise<void>;
}

/**
 * Opens the exchange on a free port of 127.0.0.1.
 *
 * @param options.tradesPerSecond of each product
 * @param options.manners while trades are made
 */
export function openStrangerExchange(
  { seed, manners, tradesPerSecond, products }: {
    seed: number;
    manners: Manners;
    tradesPerSecond: number;
    products: readonly string[];
  },
): StrangerExchange {
  const random = createRandom(seed);
  const listings = new Map(products.map((id, index) => [id, createListing(id, index)]));
  const listeners = new Set<Listener>();
  const done = { ...goodManners };
  let isOpen = false;

  const publish = (channel: string, product: string, message: object) => {
    const text = JSON.stringify(message);
    for (const { socket, wants, held } of listeners) {
      if (!wants.has(`${channel}/${product}`) || socket.readyState !== WebSocket.OPEN) continue;
      const current = isOpen ? manners : goodManners;
      for (const frame of framesInstead(text, { manners: current, held, done, random })) socket.send(frame);
    }
  };
  const trade = () => {
    if (!isOpen) return;
    const now = Date.now();
    for (const listing of listings.values()) {
      // Trades come in bursts.
      const count = random() < 0.35 ? Math.ceil(random() * 2 * tradesPerSecond * 0.1 / 0.35) : 0;
      for (let one = 0; one < count; one++) {
        const made = makeDeal(listing, now, random);
        publish("matches", listing.id, matchOf(listing, made, "match"));
        publish("ticker", listing.id, tickerOf(listing, made));
      }
      publish("level2_batch", listing.id, changeBook(listing, now, random));
    }
  };
  const beat = () => {
    for (const listing of listings.values()) publish("heartbeat", listing.id, heartbeatOf(listing));
  };
  const timers = [setInterval(trade, 100), setInterval(beat, 1000)];

  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    if (request.headers.get("upgrade")?.toLowerCase() === "websocket") {
      const { socket, response } = Deno.upgradeWebSocket(request);
      welcome(socket, listeners, listings);
      return response;
    }
    return (isOpen ? failure(random()) : undefined) ?? answerRest(new URL(request.url), listings);
  });
  const address = `127.0.0.1:${(server.addr as Deno.NetAddr).port}`;

  return {
    wsUrl: `ws://${address}`,
    restUrl: `http://${address}`,
    done,
    open: () => void (isOpen = true),
    close: () => void (isOpen = false),
    ids: () =>
      new Map([...listings.values()].map(({ id, deals, firstId }) => [
        id,
        { first: firstId, last: firstId + deals.length - 1 },
      ])),
    minutes: () =>
      new Map(
        [...listings.values()].flatMap((listing) =>
          [...minutesOf(listing)].map(([minute, candle]): [string, MinuteCandle] => [
            `${listing.id} ${minute}`,
            candle,
          ])
        ),
      ),
    async stop() {
      for (const timer of timers) clearInterval(timer);
      for (const { socket } of listeners) socket.close();
      await server.shutdown();
    },
  };
}
