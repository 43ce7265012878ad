/**
 * A recording as a source of frames: played once as it is, then again and again with the numbers and times moved
 * on, so that trade ids go on without a hole.
 *
 * In loop k (0 is the recording itself) trade_id and last_trade_id of a product are k × its number of trades
 * higher, sequence k × the sequences that its trades span, and every time k × the recording's length later. Only
 * these digits of the text change. The recording's `last_match` frames are played in loop 0 only: in the loops
 * after it they would give the last trade of the loop before another content.
 *
 * The whole recording is held in memory.
 *
 * @module
 */

import { parseMicros } from "../../time.ts";
import { readRecording, RecordingError } from "../recording.ts";
import { type ProductRow, productRow, products as knownProducts, statusFrame } from "./products.ts";
import type { Book, Channel, Frame, Source, Trade } from "./source.ts";
import { iso, padded, unitsOf } from "./text.ts";

/** How to play. */
export interface ReplayOptions {
  /** Times as fast as it was recorded; Infinity is as fast as the readers take it. @default 1 */
  speed?: number;
  /** Falls silent after the first loop instead of beginning again. @default false */
  once?: boolean;
  /** Milliseconds of a clock that only grows. @default performance.now */
  clock?: () => number;
}

/** Frames that one pull returns at most. */
const longestPull = 500;

const channelOf: Record<string, Channel> = {
  match: "matches",
  last_match: "matches",
  ticker: "ticker",
  heartbeat: "heartbeat",
  snapshot: "level2_batch",
  l2update: "level2_batch",
  status: "status",
};

interface Recorded {
  channel: Channel;
  product: string;
  type: string;
  raw: string;
  /** Of a match, else 0. */
  tradeId: number;
  /** When it is due: the largest time so far in the file (µs); never smaller than that of the frame before. */
  due: number;
}

/** What a product's recording spans. */
interface Span {
  /** The trades of loop 0, by number. */
  trades: Trade[];
  firstTrade: number;
  /** sequence grows by this in a loop. */
  sequences: number;
  row: ProductRow;
}

/**
 * Reads a recording and makes it a source. It starts to play with the first subscription.
 *
 * @throws {RecordingError} when the file can't be read, a line is broken, no frame can be played, or a trade is
 * missing in the middle
 */
export async function createReplay(path: string, options: ReplayOptions = {}): Promise<Source> {
  const { speed = 1, once = false, clock = () => performance.now() } = options;
  if (!(speed > 0)) throw new RangeError(`The speed must be a positive number or Infinity: ${speed}`);
  const { frames, spans, begin, length } = await load(path);
  const rows = [...spans.values()].map(({ row }) => row);

  let startedAt: number | undefined;
  let loop = 0;
  let next = 0;
  /** Trades played, by product; counts on over the loops. */
  const played = new Map([...spans.keys()].map((product) => [product, 0]));

  function spanOf(product: string): Span {
    const span = spans.get(product);
    if (!span) throw new RangeError(`${product} isn't in ${path}`);
    return span;
  }
  const lastTrade = (product: string) => spanOf(product).firstTrade - 1 + (played.get(product) ?? 0);

  /** Market time in µs. */
  function now(): number {
    if (startedAt === undefined) return begin;
    if (speed !== Infinity) return begin + Math.floor((clock() - startedAt) * 1000 * speed);
    return (frames[Math.max(0, next - 1)]?.due ?? begin) + loop * length;
  }

  function trade(product: string, id: number): Trade {
    const { trades, firstTrade } = spanOf(product);
    const at = id - firstTrade;
    const recorded = trades[at % trades.length];
    if (at < 0 || !recorded) throw new RangeError(`${product} has no trade ${id}`);
    const k = Math.floor(at / trades.length);
    if (k === 0) return recorded;
    return { ...recorded, trade_id: id, time: iso(parseMicros(recorded.time) + k * length) };
  }

  /** The frame as it goes out in loop `k`. */
  function inLoop({ raw, product }: Recorded, k: number): string {
    if (k === 0) return raw;
    const span = spans.get(product);
    return shift(raw, {
      trades: k * (span?.trades.length ?? 0),
      sequences: k * (span?.sequences ?? 0),
      micros: k * length,
    });
  }

  /** The frames of one product that were played since its last snapshot, that one first; none before it. */
  function sinceSnapshot(product: string): Recorded[] {
    const list: Recorded[] = [];
    for (let i = next - 1; i >= 0; i--) {
      const frame = frames[i];
      if (frame?.channel !== "level2_batch" || frame.product !== product) continue;
      list.push(frame);
      if (frame.type === "snapshot") return list.reverse();
    }
    return [];
  }

  /** The book as of now, rebuilt from the recording. */
  function book(product: string): Book | undefined {
    const sides = { buy: new Map<string, string>(), sell: new Map<string, string>() };
    const list = sinceSnapshot(product);
    for (const { raw } of list) {
      const message = JSON.parse(raw) as {
        bids?: [string, string][];
        asks?: [string, string][];
        changes?: ["buy" | "sell", string, string][];
      };
      for (const [price, size] of message.bids ?? []) sides.buy.set(price, size);
      for (const [price, size] of message.asks ?? []) sides.sell.set(price, size);
      for (const [side, price, size] of message.changes ?? []) {
        if (/[1-9]/.test(size)) sides[side].set(price, size);
        else sides[side].delete(price);
      }
    }
    const last = list.at(-1);
    if (!last) return undefined;
    // Number is good enough to sort by, as prices of one book differ early; the texts stay as they are.
    const sorted = (side: Map<string, string>, sign: number) =>
      [...side].sort(([a], [b]) => sign * (Number(a) - Number(b)));
    return {
      bids: sorted(sides.buy, -1),
      asks: sorted(sides.sell, 1),
      sequence: 0,
      time: last.due + loop * length,
    };
  }

  /** The text of the last frame of a channel and product that was played, perhaps in the loop before. */
  function lastPlayed(product: string, channel: Channel): string | undefined {
    for (let back = 1; back <= Math.min(frames.length, loop * frames.length + next); back++) {
      const k = back <= next ? loop : loop - 1;
      const frame = frames[(next - back + frames.length) % frames.length];
      if (frame?.channel !== channel || frame.product !== product) continue;
      if (k === 0 || frame.type !== "last_match") return inLoop(frame, k);
    }
  }

  return {
    name: "replay",
    products: rows,
    delisted: [],
    patient: speed === Infinity,
    now,
    start() {
      startedAt ??= clock();
    },
    pull(wanted) {
      const pulled: Frame[] = [];
      if (startedAt === undefined) return pulled;
      // Bounded by the frames looked at, so that an unwanted recording at full speed can't turn forever.
      for (let i = 0; i < longestPull; i++) {
        if (next === frames.length) {
          if (once) break;
          next = 0;
          loop++;
        }
        const frame = frames[next];
        if (!frame || (speed !== Infinity && frame.due + loop * length > now())) break;
        next++;
        const { channel, product, type } = frame;
        if (loop > 0 && type === "last_match") continue;
        if (type === "match") played.set(product, (played.get(product) ?? 0) + 1);
        if (!wanted(channel, product)) continue;
        const tradeId = frame.tradeId === 0 ? 0 : frame.tradeId + loop * spanOf(product).trades.length;
        pulled.push({ channel, product, type, tradeId, text: inLoop(frame, loop) });
      }
      return pulled;
    },
    opening(channel, product) {
      const frame = (type: string, text: string): Frame[] => [{ channel, product, type, tradeId: 0, text }];
      switch (channel) {
        case "status":
          return frame("status", statusFrame(rows));
        case "level2_batch": {
          const now = book(product);
          if (!now) return [];
          return frame(
            "snapshot",
            `{"type":"snapshot","product_id":"${product}","asks":${JSON.stringify(now.asks)},"bids":${
              JSON.stringify(now.bids)
            },"time":"${iso(now.time)}"}`,
          );
        }
        case "matches": {
          const last = lastPlayed(product, "matches");
          return last ? frame("last_match", last.replace(`"type":"match"`, `"type":"last_match"`)) : [];
        }
        case "ticker": {
          const last = lastPlayed(product, "ticker");
          return last ? frame("ticker", last) : [];
        }
        default:
          return [];
      }
    },
    firstTrade: (product) => spanOf(product).firstTrade,
    lastTrade,
    lastTradeBefore(product, time) {
      const { firstTrade } = spanOf(product);
      let low = firstTrade - 1;
      let high = lastTrade(product);
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (parseMicros(trade(product, middle).time) < time) low = middle;
        else high = middle - 1;
      }
      return low;
    },
    trade,
    book: (product) => book(product) ?? { bids: [], asks: [], sequence: 0, time: now() },
    day(product) {
      const last = lastTrade(product);
      const { firstTrade, trades } = spanOf(product);
      // One loop shows every price that there is.
      const from = Math.max(firstTrade, last - trades.length + 1);
      const day = { open: "0", high: "0", low: "0" };
      let volume = 0n;
      for (let id = from; id <= last; id++) {
        const { price, size } = trade(product, id);
        if (id === from) day.open = day.high = day.low = price;
        if (Number(price) > Number(day.high)) day.high = price;
        if (Number(price) < Number(day.low)) day.low = price;
        volume += unitsOf(size, 8);
      }
      const text = padded(Number(volume), 8);
      return { ...day, volume: text, volume30: text };
    },
  };
}

/** Moves the numbers and the time of a frame on; all other bytes stay. */
export function shift(raw: string, by: { trades: number; sequences: number; micros: number }): string {
  return raw.replace(
    /"(trade_id|last_trade_id|sequence)":(\d+)|"time":"([^"]+)"/g,
    (_, name: string | undefined, number: string, time: string) => {
      if (name === undefined) return `"time":"${iso(parseMicros(time) + by.micros)}"`;
      return `"${name}":${Number(number) + (name === "sequence" ? by.sequences : by.trades)}`;
    },
  );
}

async function load(path: string) {
  const frames: Recorded[] = [];
  const trades = new Map<string, Trade[]>();
  const sequences = new Map<string, { first: number; last: number }>();
  let begin = Infinity;
  let end = -Infinity;
  for await (const { line, raw, message } of readRecording(path)) {
    const where = `${path}:${line}`;
    const channel = channelOf[message.type];
    if (channel === undefined) continue;
    const product = channel === "status" ? "" : text(message, "product_id", where);
    if (channel !== "status" && !trades.has(product)) trades.set(product, []);
    let due = end;
    // A last_match tells of a trade from before, perhaps long before.
    if ("time" in message && message.type !== "last_match") {
      const time = timeOf(text(message, "time", where), where);
      begin = Math.min(begin, time);
      due = end = Math.max(end, time);
    }
    if (typeof message.sequence === "number") {
      const { first = message.sequence, last = message.sequence } = sequences.get(product) ?? {};
      sequences.set(product, {
        first: Math.min(first, message.sequence),
        last: Math.max(last, message.sequence),
      });
    }
    let tradeId = 0;
    if (message.type === "match") {
      tradeId = wholeNumber(message, "trade_id", where);
      const list = trades.get(product) ?? [];
      const expected = list[0] ? list[0].trade_id + list.length : tradeId;
      if (tradeId !== expected) {
        throw new RecordingError(
          `${where}: ${product} trade ${tradeId} where ${expected} was expected: a recording with missing, ` +
            "repeated or reordered trades can't be looped without holes",
        );
      }
      list.push({
        trade_id: tradeId,
        side: text(message, "side", where),
        size: text(message, "size", where),
        price: text(message, "price", where),
        time: text(message, "time", where),
      });
    }
    frames.push({ channel, product, type: message.type, raw, tradeId, due });
  }
  if (begin === Infinity) {
    throw new RecordingError(
      `${path} has no frame with a time: expected matches, heartbeats, book updates …`,
    );
  }
  // Frames before the first time are due at once.
  for (const frame of frames) {
    if (frame.due !== -Infinity) break;
    frame.due = begin;
  }
  // Whole seconds, so that heartbeats stay on the second; and more than the span, so that times grow.
  const length = (Math.floor((end - begin) / 1e6) + 1) * 1e6;
  const spans = new Map([...trades].map(([product, list]): [string, Span] => {
    const { first = 0, last = 0 } = sequences.get(product) ?? {};
    return [product, {
      trades: list,
      firstTrade: list[0]?.trade_id ?? 1,
      sequences: last - first + 1,
      row: describe(product, list),
    }];
  }));
  return { frames, spans, begin, length };
}

/** A product that isn't known is described by the digits of its trades. */
function describe(product: string, trades: Trade[]): ProductRow {
  const known = knownProducts.find(({ id }) => id === product);
  if (known) return productRow(product, known.priceDigits, known.sizeDigits);
  const digits = (texts: string[]) => Math.max(0, ...texts.map((text) => text.split(".")[1]?.length ?? 0));
  return productRow(
    product,
    digits(trades.map(({ price }) => price)),
    digits(trades.map(({ size }) => size)),
  );
}

function timeOf(text: string, where: string): number {
  try {
    return parseMicros(text);
  } catch (error) {
    throw new RecordingError(`${where}: ${error instanceof Error ? error.message : error}`);
  }
}

function text(message: Record<string, unknown>, name: string, where: string): string {
  const value = message[name];
  if (typeof value === "string") return value;
  throw new RecordingError(`${where}: expected "${name}" to be a string: ${JSON.stringify(value)}`);
}

function wholeNumber(message: Record<string, unknown>, name: string, where: string): number {
  const value = message[name];
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw new RecordingError(`${where}: expected "${name}" to be a whole number: ${JSON.stringify(value)}`);
}
