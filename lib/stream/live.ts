/**
 * What the channels have in common that are computed here: candles and books live while somebody follows them, and a
 * little longer, so that a client that comes back finds what it missed.
 *
 * @module
 */

import type { Topic } from "./protocol.ts";

/** A message before it is numbered: `type`, and the rest. */
export interface Outgoing {
  type: string;
  fields: object;
}

/** A channel that needs a starting state. */
export interface LiveChannel {
  /**
   * Brings a topic to life; resolves when `snapshot` can say what it starts with.
   *
   * @param onTrouble told, in one line, when it takes longer for a reason
   */
  prepare(topic: Topic, onTrouble: (reason: string) => void): Promise<void>;
  /** The topic's present state. Only after `prepare`. */
  snapshot(topic: Topic): Outgoing[];
  /** The number since which every change of the topic was published; Infinity when it isn't alive. */
  aliveSince(topic: Topic): number;
  /** Lets go of what nobody has followed for long; call once a second. */
  sweep(): void;
  stop(): void;
}

/** What nobody follows is kept so long: as long as messages are remembered. */
export const lingerMs = 60_000;
/** A candle or a book is sent at most so often. */
export const paceMs = 100;

/** An error in one line, for people. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.split("\n")[0]?.slice(0, 200) ?? "";
}
