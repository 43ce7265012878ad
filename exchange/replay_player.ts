/**
 * Playing a recording: which frame comes next, when it is due, and what was played before it.
 *
 * @module
 */

import type { Recorded, RecordedMarket } from "./recorded_frames.ts";
import { spanOf, textIn } from "./recording_loops.ts";
import { rebuildBook } from "./replayed_book.ts";
import type { Book, Channel, Frame } from "./source.ts";

/** How to play. */
export interface PlayOptions {
  /** Times as fast as it was recorded; Infinity is as fast as the readers take it. */
  speed: number;
  /** Falls silent after the first loop instead of beginning again. */
  once: boolean;
  /** Milliseconds of a clock that only grows. */
  clock: () => number;
}

/** Frames that one pull returns at most. */
const longestPull = 500;

/** Plays a recording, loop after loop, from the moment when it is started. */
export class Player {
  readonly #recording: RecordedMarket;
  readonly #options: PlayOptions;
  #startedAt: number | undefined;
  #loop = 0;
  /** Index of the frame that comes next. */
  #next = 0;
  /** Trades played, by product; counts on over the loops. */
  readonly #played: Map<string, number>;

  constructor(recording: RecordedMarket, options: PlayOptions) {
    this.#recording = recording;
    this.#options = options;
    this.#played = new Map([...recording.spans.keys()].map((product) => [product, 0]));
  }

  /** Begins to play, unless it has begun. */
  start(): void {
    this.#startedAt ??= this.#options.clock();
  }

  /** Market time in µs. */
  now(): number {
    const { begin, frames } = this.#recording;
    const { speed, clock } = this.#options;
    if (this.#startedAt === undefined) return begin;
    if (speed !== Infinity) return begin + Math.floor((clock() - this.#startedAt) * 1000 * speed);
    return this.#moved(frames[Math.max(0, this.#next - 1)]?.due ?? begin);
  }

  /** The last trade played; the product's first - 1 when there is none. */
  lastTrade(product: string): number {
    return spanOf(this.#recording, product).firstTrade - 1 + (this.#played.get(product) ?? 0);
  }

  /** Plays the frames that are due, and returns those that somebody wants. */
  pull(wanted: (channel: Channel, product: string) => boolean): Frame[] {
    const pulled: Frame[] = [];
    if (this.#startedAt === undefined) return pulled;
    // Bounded by the frames looked at, so that an unwanted recording at full speed can't turn forever.
    for (let i = 0; i < longestPull; i++) {
      const recorded = this.#shiftDue();
      if (!recorded) break;
      const { channel, product, type } = recorded;
      if (this.#loop > 0 && type === "last_match") continue;
      if (type === "match") this.#played.set(product, (this.#played.get(product) ?? 0) + 1);
      if (wanted(channel, product)) pulled.push(this.#frameOf(recorded));
    }
    return pulled;
  }

  /** The book as of now; undefined before the product's first snapshot. */
  book(product: string): Book | undefined {
    const played = this.#sinceSnapshot(product);
    const last = played.at(-1);
    if (!last) return undefined;
    return { ...rebuildBook(played.map(({ raw }) => raw)), sequence: 0, time: this.#moved(last.due) };
  }

  /** The text of the last frame of a channel and product that was played, perhaps in the loop before. */
  lastPlayed(product: string, channel: Channel): string | undefined {
    const { frames } = this.#recording;
    for (let back = 1; back <= Math.min(frames.length, this.#loop * frames.length + this.#next); back++) {
      const k = back <= this.#next ? this.#loop : this.#loop - 1;
      const frame = frames[(this.#next - back + frames.length) % frames.length];
      if (frame?.channel !== channel || frame.product !== product) continue;
      if (k === 0 || frame.type !== "last_match") return textIn(this.#recording, frame, k);
    }
  }

  /** The next frame if it is due, which is thereby played; after the last one comes the first of the next loop. */
  #shiftDue(): Recorded | undefined {
    const { frames } = this.#recording;
    if (this.#next === frames.length) {
      if (this.#options.once) return undefined;
      this.#next = 0;
      this.#loop++;
    }
    const frame = frames[this.#next];
    if (!frame || (this.#options.speed !== Infinity && this.#moved(frame.due) > this.now())) return undefined;
    this.#next++;
    return frame;
  }

  #frameOf(recorded: Recorded): Frame {
    const { channel, product, type } = recorded;
    const tradeId = recorded.tradeId === 0
      ? 0
      : recorded.tradeId + this.#loop * spanOf(this.#recording, product).trades.length;
    return { channel, product, type, tradeId, text: textIn(this.#recording, recorded, this.#loop) };
  }

  /** The frames of one product that were played since its last snapshot, that one first; none before it. */
  #sinceSnapshot(product: string): Recorded[] {
    const list: Recorded[] = [];
    for (let i = this.#next - 1; i >= 0; i--) {
      const frame = this.#recording.frames[i];
      if (frame?.channel !== "level2_batch" || frame.product !== product) continue;
      list.push(frame);
      if (frame.type === "snapshot") return list.reverse();
    }
    return [];
  }

  /** A time of the recording (µs) as it is in this loop. */
  #moved(time: number): number {
    return time + this.#loop * this.#recording.length;
  }
}
