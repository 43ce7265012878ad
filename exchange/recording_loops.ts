/**
 * A recording's trades and frames in loop k, in which numbers and times are moved on; see replayed_recording.ts.
 *
 * @module
 */

import { parseMicros } from "../lib/core/time.ts";
import type { Recorded, RecordedMarket, Span } from "./recorded_frames.ts";
import type { Day, Trade } from "./source.ts";
import { iso, padded, unitsOf } from "./text.ts";

/** What a product's recording spans. @throws {RangeError} when the product isn't in it */
export function spanOf({ spans, path }: RecordedMarket, product: string): Span {
  const span = spans.get(product);
  if (!span) throw new RangeError(`${product} isn't in ${path}`);
  return span;
}

/** Trade number `id` of a product, of whatever loop. @throws {RangeError} when there is none */
export function tradeOf(recording: RecordedMarket, product: string, id: number): Trade {
  const { trades, firstTrade } = spanOf(recording, product);
  const at = id - firstTrade;
  const recorded = trades[at % trades.length];
  if (at < 0 || !recorded) throw new RangeError(`${product} has no trade ${id}`);
  const k = Math.floor(at / trades.length);
  if (k === 0) return recorded;
  return { ...recorded, trade_id: id, time: iso(parseMicros(recorded.time) + k * recording.length) };
}

/** The last trade before `time` (µs), from the product's first one - 1 to `last`. */
export function lastTradeBefore(
  recording: RecordedMarket,
  product: string,
  last: number,
  time: number,
): number {
  let low = spanOf(recording, product).firstTrade - 1;
  let high = last;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (parseMicros(tradeOf(recording, product, middle).time) < time) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The figures of the loop that ends with trade `last`: one loop shows every price that there is. */
export function dayUpTo(recording: RecordedMarket, product: string, last: number): Day {
  const { firstTrade, trades } = spanOf(recording, product);
  const from = Math.max(firstTrade, last - trades.length + 1);
  const day = { open: "0", high: "0", low: "0" };
  let volume = 0n;
  for (let id = from; id <= last; id++) {
    const { price, size } = tradeOf(recording, product, id);
    if (id === from) day.open = day.high = day.low = price;
    if (Number(price) > Number(day.high)) day.high = price;
    if (Number(price) < Number(day.low)) day.low = price;
    volume += unitsOf(size, 8);
  }
  const text = padded(Number(volume), 8);
  return { ...day, volume: text, volume30: text };
}

/** A frame's text as it goes out in loop `k`. */
export function textIn({ spans, length }: RecordedMarket, { raw, product }: Recorded, k: number): string {
  if (k === 0) return raw;
  const span = spans.get(product);
  return shift(raw, {
    trades: k * (span?.trades.length ?? 0),
    sequences: k * (span?.sequences ?? 0),
    micros: k * length,
  });
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
