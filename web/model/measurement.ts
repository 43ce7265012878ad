/**
 * What the page measures about itself: how many messages and frames a second, and how long a message takes from the
 * producer's receipt to the painted frame.
 *
 * @module
 */

import { createSamples, type Percentiles } from "./latency.ts";
import type { State } from "./state.ts";

/** The figures of the last second. */
export interface Measured {
  /** From receipt to the painted frame; null without samples. */
  screen: Percentiles | null;
  /** Of how many messages. */
  samples: number;
  /** Messages and painted frames a second. */
  messages: number;
  frames: number;
  /** The server's clock minus the page's, ms. */
  offset: number | null;
}

/** So many messages make the percentiles. */
const newestSamples = 3_000;

/** @param offset the server's clock minus `performance.now()`, in ms; null while it isn't known */
export function createMeasurement(state: State, offset: () => number | null) {
  const screen = createSamples(newestSamples);
  const measured: Measured = { screen: null, samples: 0, messages: 0, frames: 0, offset: null };
  /** Since when the product of the view is subscribed and in sight, `performance.now()`. */
  let watchedSince = Infinity;
  let painted = 0;
  let counted = { received: 0, painted: 0, at: performance.now() };

  return {
    measured,
    /**
     * Snapshots, what is told again after a reconnect, and what came while the page was hidden are older than the way to
     * the screen is long: what was received before this moment is no sample of it.
     */
    watchFromNow(): void {
      state.unpainted = [];
      watchedSince = performance.now();
    },
    /** A frame is being painted. */
    framePainted(): void {
      painted++;
      const received = state.unpainted.splice(0);
      const toServersTime = offset();
      if (received.length === 0 || toServersTime === null) return;
      // A task that is queued in a frame runs after the frame was painted.
      setTimeout(() => {
        const now = performance.now() + toServersTime;
        for (const micros of received) {
          if (micros / 1000 >= watchedSince + toServersTime) screen.add(Math.max(0, now - micros / 1000));
        }
        measured.samples = screen.count;
      });
    },
    /** Once a second: counts anew. */
    tick(): void {
      const at = performance.now();
      const seconds = (at - counted.at) / 1000;
      measured.messages = Math.round((state.received - counted.received) / seconds);
      measured.frames = Math.round((painted - counted.painted) / seconds);
      counted = { received: state.received, painted, at };
      measured.screen = screen.percentiles();
      measured.offset = offset();
    },
  };
}

/** The measurement that createMeasurement makes. */
export type Measurement = ReturnType<typeof createMeasurement>;
