/**
 * An API server without Kafka and ClickHouse behind it, for building the page: it speaks the contract of REST and
 * stream and makes up a market that moves, the same every time for the same clock.
 * By itself: `deno run -A tests/browser/fake_api.ts [PORT] [MESSAGES_A_SECOND]`.
 *
 * @module
 */

import { isoMicros, nowMicros } from "../../lib/time.ts";

/** What the server lets a test do to it. */
export interface FakeApi {
  url: string;
  close(): Promise<void>;
  /** Messages a second of the whole market. */
  rate(perSecond: number): void;
  /** Closes every stream; with `forget` the server is as if started anew: nothing can be resumed. */
  drop(options?: { forget?: boolean }): void;
  /** Every REST request is answered with this problem; null ends it. */
  fail(problem: { status: number; title: string; detail: string } | null): void;
  /** Refuses new streams while true. */
  refuse(yes: boolean): void;
  /** Sends a message on the stream to all who subscribed its channel. */
  tell(channel: string, message: Record<string, unknown>): void;
  /** Takes `count` trade numbers of a product away, as if they had been missed. */
  miss(product: string, count: number): void;
}

interface Market {
  id: string;
  base: number;
  digits: number;
  sizeDigits: number;
  tradeId: number;
  sequence: number;
  last: number;
  trades: Trade[];
}

interface Trade {
  product_id: string;
  trade_id: number;
  time: string;
  micros: number;
  price: string;
  size: string;
  taker_side: "buy" | "sell";
  received_at: string;
}

interface Client {
  socket: WebSocket;
  wanted: Map<string, Set<string>>;
  queue: Record<string, unknown>[];
}

const listed: [string, number, number, number][] = [
  ["BTC-USD", 63711.77, 2, 8],
  ["ETH-USD", 2362.75, 2, 8],
  ["SOL-USD", 142.11, 2, 8],
  ["XRP-USD", 2.1034, 4, 6],
  ["DOGE-USD", 0.17211, 5, 1],
  ["LTC-USD", 88.04, 2, 8],
  ["ADA-USD", 0.5811, 4, 8],
  ["LINK-USD", 13.412, 3, 2],
  ["AVAX-USD", 18.21, 2, 8],
  ["DOT-USD", 3.411, 3, 8],
  ["UNI-USD", 7.312, 3, 6],
  ["XLM-USD", 0.239112, 6, 8],
  ["SHIB-USD", 0.0000117, 8, 0],
  ["SUI-USD", 2.8312, 4, 1],
];

/** From 0 up to 1, by chance and yet always the same for the same text. */
function chance(text: string): number {
  let hash = 2166136261;
  for (let place = 0; place < text.length; place++) hash = Math.imul(hash ^ text.charCodeAt(place), 16777619);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0x5bd1e995);
  return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32;
}

function priceAt(market: Market, second: number): number {
  const turn = chance(market.id) * 9;
  return market.base * Math.exp(
    0.013 * Math.sin(second / 9_000 + turn) + 0.005 * Math.sin(second / 1_311 + turn) +
      0.0016 * Math.sin(second / 197) + 0.0009 * (chance(market.id + Math.floor(second / 20)) - 0.5),
  );
}

/**
 * Starts the server.
 *
 * @param options.port a free one by default
 * @param options.dist the folder of the built page
 * @param options.token when given, every request needs it
 */
export function startFakeApi(
  options: { port?: number; dist: string; token?: string; rate?: number; simulated?: boolean },
): FakeApi {
  const started = Math.floor(Date.now() / 1000);
  const simulated = options.simulated ?? true;
  const markets = listed.map(([id, base, digits, sizeDigits], place): Market => ({
    id,
    base,
    digits,
    sizeDigits,
    tradeId: 800_000_000 - place * 1_000_000,
    sequence: 1_000_000,
    last: base,
    trades: [],
  }));
  const byId = new Map(markets.map((market) => [market.id, market]));
  const gaps = [
    gap("BTC-USD", started - 2_520, started - 2_220, 214, "open"),
    gap("BTC-USD", started - 5_700, started - 5_698, 1, "given up"),
    gap("SOL-USD", started - 900, started - 840, 12, "open"),
  ];
  const anomalies = [
    anomaly(
      "BTC-USD",
      started - 3_300,
      "price_jump",
      "critical",
      9.4,
      "1m return of −0.62 %, 9.4 robust deviations",
    ),
    anomaly(
      "BTC-USD",
      started - 1_500,
      "volume_spike",
      "warning",
      5.1,
      "5.1 × the median volume of the last hour",
    ),
    anomaly("ETH-USD", started - 600, "spread_blowout", "warning", 6.3, "spread 14.2 bps, median 1.9 bps"),
    anomaly("BTC-USD", started - 2_520, "hole", "critical", 214, "214 trades are missing from the tape"),
  ];
  let stream = crypto.randomUUID();
  let seq = 0;
  let perSecond = options.rate ?? 60;
  let failure: { status: number; title: string; detail: string } | null = null;
  let refusing = false;
  const clients = new Set<Client>();

  function gap(product: string, from: number, to: number, missing: number, status: string) {
    const first = 700_000_000 + from % 100_000;
    return {
      product_id: product,
      first_missing: first,
      last_missing: first + missing - 1,
      missing,
      after_time: isoMicros(from * 1e6 + 250_000),
      before_time: isoMicros(to * 1e6 + 750_000),
      seen_at: isoMicros(to * 1e6 + 800_000),
      status,
    };
  }

  function anomaly(
    product_id: string,
    second: number,
    kind: string,
    severity: string,
    score: number,
    explanation: string,
  ) {
    return { product_id, time: isoMicros(second * 1e6), kind, severity, score, explanation };
  }

  /** The candle of an interval that ended before the start is made up; later ones come from the trades. */
  function candle(market: Market, start: number, step: number): Record<string, unknown> | null {
    const trades = market.trades.filter(({ micros }) =>
      micros >= start * 1e6 && micros < (start + step) * 1e6
    );
    const past = Math.min(start + step, started) - start;
    const missing = gaps.some(({ product_id, after_time, before_time }) =>
      product_id === market.id && Date.parse(after_time) / 1000 <= start &&
      Date.parse(before_time) / 1000 >= start + step
    );
    const quiet = step < 60 ? chance(`${market.id}${start}q`) < 0.25 : chance(`${market.id}${start}`) < 0.01;
    const made = past > 0 && !missing && !quiet ? [0, 0.2, 0.4, 0.6, 0.8, 0.99] : [];
    const prices = made.map((share) => priceAt(market, start + share * past));
    prices.push(...trades.map(({ price }) => Number(price)));
    if (prices.length === 0) return null;
    const size = made.length > 0 ? (0.2 + chance(`${market.id}${start}v`) ** 3 * 6) * step / 10 : 0;
    const volume = size + trades.reduce((sum, trade) => sum + Number(trade.size), 0);
    const fixed = (value: number) => String(Number(value.toFixed(market.digits)));
    const digits = Math.min(8, market.sizeDigits);
    return {
      time: isoMicros(start * 1e6),
      open: text(prices[0] ?? 0, market.digits),
      high: text(Math.max(...prices), market.digits),
      low: text(Math.min(...prices), market.digits),
      close: text(prices.at(-1) ?? 0, market.digits),
      volume: text(volume, digits),
      quote_volume: fixed(volume * market.base),
      buy_volume: text(volume * 0.52, digits),
      sell_volume: text(volume * 0.48, digits),
      trades: made.length * 7 + trades.length,
      vwap: text(prices.reduce((sum, price) => sum + price, 0) / prices.length, market.digits + 6),
      is_filled: false,
    };
  }

  function candles(market: Market, step: number, to: number, limit: number) {
    const end = Math.floor(to / step) * step;
    const oldest = started - 90 * 86_400;
    const list: Record<string, unknown>[] = [];
    let start = end;
    for (; start > end - limit * step && start > oldest; start -= step) {
      const made = candle(market, start, step);
      if (made !== null) list.unshift(made);
    }
    return { data: list, next: start > oldest ? String(start + step) : null };
  }

  function book(market: Market, depth: number) {
    const tick = 10 ** -market.digits;
    const mid = Math.round(market.last / tick);
    const spread = 1 + Math.floor(chance(`${market.id}${market.sequence >> 4}`) * 3);
    const level = (side: string, place: number): [string, string] => {
      const away = Math.ceil(place * (1 + place / 9) * Math.max(1, mid / 60_000));
      const price = side === "bid" ? mid - spread - away : mid + spread + away;
      const roll = chance(`${market.id}${price}${side}${market.sequence >> 5}`);
      const size = (0.02 + roll ** 4 * 3 + place / 40) * 60_000 / market.base / 4;
      return [text(price * tick, market.digits), text(size, Math.min(8, market.sizeDigits))];
    };
    const side = (name: string) => Array.from({ length: depth }, (_, place) => level(name, place));
    return {
      product_id: market.id,
      time: isoMicros(nowMicros()),
      age_ms: 40,
      bids: side("bid"),
      asks: side("ask"),
    };
  }

  function ticker(market: Market) {
    const day = candles(market, 3600, Date.now() / 1000, 24).data;
    const highs = day.map(({ high }) => Number(high));
    return {
      type: "ticker",
      product_id: market.id,
      time: isoMicros(nowMicros() - 30_000),
      received_at: isoMicros(nowMicros()),
      price: text(market.last, market.digits),
      open_24h: text(priceAt(market, started - 86_400), market.digits),
      high_24h: text(Math.max(...highs), market.digits),
      low_24h: text(Math.min(...day.map(({ low }) => Number(low))), market.digits),
      volume_24h: text(
        day.reduce((sum, { volume }) => sum + Number(volume), 0),
        Math.min(8, market.sizeDigits),
      ),
      sequence: market.sequence,
      trade_id: market.tradeId,
    };
  }

  function trade(market: Market): Trade {
    const now = nowMicros();
    market.tradeId++;
    market.sequence += 3;
    const drift = (chance(`${market.id}${market.tradeId}`) - 0.5) * market.base * 0.0002;
    market.last = Math.max(10 ** -market.digits, priceAt(market, now / 1e6) + drift);
    const roll = chance(`${market.tradeId}s`);
    return {
      product_id: market.id,
      trade_id: market.tradeId,
      time: isoMicros(now - 25_000 - Math.floor(roll * 20_000)),
      micros: now,
      price: text(market.last, market.digits),
      size: text((0.0001 + roll ** 6 * 2) * 60_000 / market.base, Math.min(8, market.sizeDigits)),
      taker_side: drift > 0 ? "buy" : "sell",
      received_at: isoMicros(now),
    };
  }

  function match(one: Trade, type = "match") {
    const { micros: _, ...rest } = one;
    return { type, ...rest, side: one.taker_side === "buy" ? "sell" : "buy", sequence: one.trade_id * 3 };
  }

  function send(channel: string, product: string, message: Record<string, unknown>): void {
    seq++;
    for (const client of clients) {
      if (client.wanted.get(channel)?.has(product)) client.queue.push({ seq, ...message });
    }
  }

  for (const market of markets) {
    market.last = priceAt(market, started);
    for (let count = 0; count < 3; count++) market.trades.push(trade(market));
  }

  let owed = 0;
  let ticks = 0;
  const timer = setInterval(() => {
    owed += perSecond / 20;
    ticks++;
    const touched = new Set<Market>();
    while (owed >= 1) {
      owed--;
      const place = Math.floor(chance(`${seq}${ticks}${owed}`) ** 2.5 * markets.length);
      const market = markets[place] ?? markets[0];
      if (market === undefined) break;
      const made = trade(market);
      market.trades.push(made);
      if (market.trades.length > 20_000) market.trades.splice(0, 5_000);
      send("matches", market.id, match(made));
      touched.add(market);
    }
    for (const market of touched) {
      if (ticks % 4 === 0) send("ticker", market.id, ticker(market));
      if (ticks % 2 !== 0) continue;
      send("book", market.id, { type: "book", ...book(market, 50) });
      for (const channel of intervalsWanted(market.id)) {
        const step = stepOf(channel.slice(8)) ?? 60;
        const now = Math.floor(Date.now() / 1000 / step) * step;
        const made = candle(market, now, step);
        const message = { type: "candles", product_id: market.id, interval: channel.slice(8), candle: made };
        if (made !== null) send(channel, market.id, message);
      }
    }
    for (const { socket, queue } of clients) {
      if (queue.length > 0 && socket.readyState === WebSocket.OPEN) {
        socket.send(JSON.stringify(queue.splice(0)));
      }
    }
  }, 50);

  function intervalsWanted(product: string): Set<string> {
    const wanted = [...clients].flatMap(({ wanted }) =>
      [...wanted].flatMap(([name, products]) =>
        name.startsWith("candles ") && products.has(product) ? [name] : []
      )
    );
    return new Set(wanted);
  }

  function accept(request: Request): Response {
    if (refusing) return new Response("not now", { status: 503 });
    const { socket, response } = Deno.upgradeWebSocket(request);
    const client: Client = { socket, wanted: new Map(), queue: [] };
    socket.onopen = () => clients.add(client);
    socket.onclose = () => clients.delete(client);
    socket.onmessage = ({ data }) => hear(client, JSON.parse(data));
    return response;
  }

  // deno-lint-ignore no-explicit-any
  function hear(client: Client, message: any): void {
    const answer = (reply: unknown) => client.socket.send(JSON.stringify(reply));
    if (message.type === "ping") {
      return answer({ type: "pong", time: message.time, server_time: isoMicros(nowMicros()) });
    }
    const resumed = message.resume?.stream === stream;
    const snapshots: Record<string, unknown>[] = [];
    for (const channel of message.channels ?? []) {
      const name = channel.name === "candles" ? `candles ${channel.interval}` : channel.name;
      const set = client.wanted.get(name) ?? new Set<string>();
      client.wanted.set(name, set);
      for (const product of channel.product_ids) {
        const market = byId.get(product);
        if (message.type === "unsubscribe") {
          set.delete(product);
        } else if (market !== undefined) {
          set.add(product);
          if (!resumed) snapshots.push(...snapshotsOf(channel, market));
        }
      }
    }
    const channels = [...client.wanted].map(([name, products]) => ({ name, product_ids: [...products] }));
    answer({ type: "subscriptions", stream, seq, resumed, simulated, channels });
    if (snapshots.length > 0) answer(snapshots.map((snapshot) => ({ seq, ...snapshot })));
  }

  function snapshotsOf(channel: { name: string; interval?: string; depth?: number }, market: Market) {
    const last = market.trades.at(-1);
    switch (channel.name) {
      case "ticker":
        return [ticker(market)];
      case "matches":
        return last === undefined ? [] : [match(last, "last_match")];
      case "book":
        return [{ type: "book_snapshot", ...book(market, channel.depth ?? 20) }];
      case "candles": {
        const step = stepOf(channel.interval ?? "1m") ?? 60;
        const list = candles(market, step, Date.now() / 1000, 300).data;
        return [{
          type: "candles_snapshot",
          product_id: market.id,
          interval: channel.interval,
          candles: list,
        }];
      }
      default:
        return [];
    }
  }

  function rest(url: URL): Response {
    const one = (name: string) => url.searchParams.get(name);
    const wanted = one("product_id")?.split(",");
    const chosen = markets.filter(({ id }) => wanted === undefined || wanted.includes(id));
    const market = chosen[0];
    const list = (data: unknown[], next: string | null = null) => Response.json({ data, next });
    if (failure !== null) return problem(failure.status, failure.title, failure.detail);
    switch (url.pathname) {
      case "/api/products":
        return list(markets.map(({ id, digits, sizeDigits }) => ({
          product_id: id,
          display_name: id.replace("-", "/"),
          base_currency: id.split("-")[0],
          quote_currency: "USD",
          base_increment: (10 ** -sizeDigits).toFixed(sizeDigits),
          quote_increment: (10 ** -digits).toFixed(digits),
          status: "online",
          trading_disabled: false,
        })));
      case "/api/ticker":
        return list(chosen.map(ticker));
      case "/api/trades":
        return list(market?.trades.slice(-100).toReversed().map((trade) => match(trade)) ?? []);
      case "/api/ohlc": {
        const step = stepOf(one("interval") ?? "1m");
        if (step === null) {
          return problem(400, "Wrong parameter", `interval ${one("interval")}: expected 1s to 52w`);
        }
        if (market === undefined) {
          return problem(404, "Unknown product", `product_id ${wanted}: not in the tape`);
        }
        const to = one("cursor") !== null ? Number(one("cursor")) - 1 : Date.now() / 1000;
        const { data, next } = candles(market, step, to, Number(one("limit") ?? 1000));
        return list(data, next);
      }
      case "/api/book":
        return Response.json(market === undefined ? {} : book(market, Number(one("depth") ?? 20)));
      case "/api/anomalies":
        return list(anomalies.filter(({ product_id }) => chosen.some(({ id }) => id === product_id)));
      case "/api/gaps":
        return list(gaps.filter(({ product_id }) => chosen.some(({ id }) => id === product_id)));
      case "/api/completeness":
        return list(chosen.flatMap((each) => hours(each)));
      case "/api/status":
        return Response.json(status());
      default:
        return problem(404, "Not found", `${url.pathname}: no such endpoint`);
    }
  }

  function hours(market: Market) {
    const now = Math.floor(Date.now() / 3_600_000) * 3_600;
    return Array.from({ length: 24 }, (_, back) => {
      const hour = now - back * 3_600;
      const here = gaps.filter(({ product_id, after_time }) =>
        product_id === market.id && Math.floor(Date.parse(after_time) / 3_600_000) * 3_600 === hour
      );
      const missing = here.reduce((sum, each) => sum + each.missing, 0);
      const trades = 4_000 + Math.floor(chance(`${market.id}${hour}h`) * 3_000);
      return {
        product_id: market.id,
        hour: isoMicros(hour * 1e6),
        trades,
        expected: trades + missing,
        ratio: trades / (trades + missing),
        open_holes: here.length,
        filled_holes: chance(`${market.id}${hour}f`) < 0.1 ? 2 : 0,
        filled_trades: chance(`${market.id}${hour}f`) < 0.1 ? 61 : 0,
        status: here.length > 0 ? "incomplete" : back === 0 ? "unconfirmed" : "complete",
      };
    });
  }

  function status() {
    return {
      version: "0.1.0",
      simulated,
      database: simulated ? "market_sim" : "market",
      time: isoMicros(nowMicros()),
      freshness: {
        exchange_to_received: { p50_ms: 34.2, p99_ms: 61.8 },
        received_to_stored: { p50_ms: 214, p99_ms: 408 },
      },
      lag: 0,
      rows_per_second: { trades: perSecond * 0.7, tickers: perSecond * 0.4, book_changes: perSecond * 3 },
      products: markets.map(({ id, trades }) => {
        const missing = gaps.filter(({ product_id }) => product_id === id);
        const lost = missing.reduce((sum, each) => sum + each.missing, 0);
        return {
          product_id: id,
          last_trade_at: trades.at(-1)?.time ?? null,
          last_received_at: trades.at(-1)?.received_at ?? null,
          completeness_24h: 120_000 / (120_000 + lost),
          open_gaps: missing.length,
          missing_trades: lost,
        };
      }),
      stream: { clients: clients.size },
      clickhouse: { ok: true, version: "26.7.2.1" },
      kafka: { ok: true },
    };
  }

  async function page(path: string): Promise<Response> {
    const name = path === "/" ? "index.html" : path.slice(1);
    const type = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
    const ending = name.split(".").at(-1) as keyof typeof type;
    try {
      const body = await Deno.readFile(`${options.dist}/${name}`);
      return new Response(body, {
        headers: {
          "content-type": `${type[ending]}; charset=utf-8`,
          "content-security-policy":
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        },
      });
    } catch {
      return new Response("not found", { status: 404 });
    }
  }

  const server = Deno.serve(
    { hostname: "127.0.0.1", port: options.port ?? 0, onListen: () => {} },
    (request) => {
      const url = new URL(request.url);
      if (!url.pathname.startsWith("/api/")) return page(url.pathname);
      const given = url.searchParams.get("token") ??
        request.headers.get("authorization")?.replace("Bearer ", "");
      if (options.token !== undefined && given !== options.token) {
        return problem(401, "Unauthorized", "this API needs a token (API_TOKENS)");
      }
      return url.pathname === "/api/stream" ? accept(request) : rest(url);
    },
  );

  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    rate: (value) => void (perSecond = value),
    fail: (value) => void (failure = value),
    refuse: (yes) => void (refusing = yes),
    tell: (channel, message) => send(channel, String(message.product_id), message),
    drop({ forget = false } = {}) {
      if (forget) [stream, seq] = [crypto.randomUUID(), 0];
      for (const { socket } of clients) socket.close();
    },
    miss(product, count) {
      const market = byId.get(product);
      if (market === undefined) return;
      const second = Date.now() / 1000;
      const missed = gap(product, second - 2, second - 1, count, "open");
      gaps.unshift({ ...missed, first_missing: market.tradeId + 1, last_missing: market.tradeId + count });
      market.tradeId += count;
      send("feed_events", product, {
        type: "feed_event",
        event: "gap",
        time: isoMicros(nowMicros()),
        product_id: product,
        details: { first_missing: market.tradeId - count + 1, last_missing: market.tradeId },
      });
    },
    async close() {
      clearInterval(timer);
      for (const { socket } of clients) socket.close();
      await server.shutdown();
    },
  };
}

function text(value: number, digits: number): string {
  const fixed = value.toFixed(digits);
  return digits === 0 ? fixed : fixed.replace(/\.?0+$/, "");
}

function stepOf(interval: string): number | null {
  const match = /^([1-9]\d*)([smhdw])$/.exec(interval);
  const unit = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 }[match?.[2] ?? ""];
  return match === null || unit === undefined ? null : Number(match[1]) * unit;
}

function problem(status: number, title: string, detail: string): Response {
  return Response.json({ type: "about:blank", title, status, detail }, {
    status,
    headers: { "content-type": "application/problem+json" },
  });
}

if (import.meta.main) {
  const [port = "8080", rate = "60"] = Deno.args;
  const dist = new URL("../../web/dist", import.meta.url).pathname;
  const api = startFakeApi({ port: Number(port), dist, rate: Number(rate) });
  console.log(`a made-up market at ${api.url}`);
}
