/**
 * A recording as a source of frames: played once as it is, then again and again with the numbers and times moved
 * on, so that trade ids go on without a gap.
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

import { statusFrame } from "./products.ts";
import { load } from "./recorded_frames.ts";
import { dayUpTo, lastTradeBefore, spanOf, tradeOf } from "./recording_loops.ts";
import { Player } from "./replay_player.ts";
import type { Channel, Source } from "./source.ts";
import { snapshotText } from "./text.ts";

/** How to play. */
export interface ReplayOptions {
  /** Times as fast as it was recorded; Infinity is as fast as the readers take it. @default 1 */
  speed?: number;
  /** Falls silent after the first loop instead of beginning again. @default false */
  once?: boolean;
  /** Milliseconds of a clock that only grows. @default performance.now */
  clock?: () => number;
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
  const recording = await load(path);
  const player = new Player(recording, { speed, once, clock });
  const rows = [...recording.spans.values()].map(({ row }) => row);

  /** What a new subscriber gets first; undefined when nothing of the channel was played yet. */
  function opening(channel: Channel, product: string): { type: string; text: string } | undefined {
    switch (channel) {
      case "status":
        return { type: "status", text: statusFrame(rows) };
      case "level2_batch": {
        const book = player.book(product);
        if (book === undefined) return undefined;
        const [bids, asks] = [JSON.stringify(book.bids), JSON.stringify(book.asks)];
        return { type: "snapshot", text: snapshotText(product, bids, asks, book.time) };
      }
      case "matches": {
        const last = player.lastPlayed(product, "matches");
        return last
          ? { type: "last_match", text: last.replace(`"type":"match"`, `"type":"last_match"`) }
          : undefined;
      }
      case "ticker": {
        const last = player.lastPlayed(product, "ticker");
        return last ? { type: "ticker", text: last } : undefined;
      }
    }
  }

  return {
    name: "replay",
    products: rows,
    delisted: [],
    patient: speed === Infinity,
    now: () => player.now(),
    start: () => player.start(),
    pull: (wanted) => player.pull(wanted),
    opening(channel, product) {
      const first = opening(channel, product);
      return first ? [{ channel, product, type: first.type, tradeId: 0, text: first.text }] : [];
    },
    firstTrade: (product) => spanOf(recording, product).firstTrade,
    lastTrade: (product) => player.lastTrade(product),
    lastTradeBefore: (product, time) => lastTradeBefore(recording, product, player.lastTrade(product), time),
    trade: (product, id) => tradeOf(recording, product, id),
    book: (product) => player.book(product) ?? { bids: [], asks: [], sequence: 0, time: player.now() },
    day: (product) => dayUpTo(recording, product, player.lastTrade(product)),
  };
}
