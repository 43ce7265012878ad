/** The list of gaps, and when it is asked for. @module */

import type { Candle } from "./api_types.ts";
import type { Loader } from "./loader.ts";
import type { State } from "./state.ts";

/** A gap that was seen or filled is stored after so long, in ms. */
const storedAfter = 1_000;

/** @param take draws candles that changed because a gap was filled */
export function createGapList(state: State, load: Loader, take: (candles: Candle[]) => void) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const missing = () => state.gaps.reduce((sum, gap) => sum + gap.missing, 0);

  /** Asks for the list. Where some gaps were filled, the candles there have changed. */
  async function refresh(): Promise<void> {
    const before = missing();
    await load.gaps();
    if (missing() < before) load.candles(take);
  }

  return {
    refresh,
    /** A gap was seen or filled: the list is asked for once it is stored, and once for many. */
    refreshSoon(): void {
      clearTimeout(timer);
      timer = setTimeout(() => {
        refresh();
        load.status();
      }, storedAfter);
    },
  };
}

/** The list that createGapList makes. */
export type GapList = ReturnType<typeof createGapList>;
