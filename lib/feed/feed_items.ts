/**
 * What the feed yields.
 *
 * @module
 */

import type { FeedEventMessage } from "./messages.ts";

/** A frame of the exchange, untouched. */
export interface Frame {
  kind: "frame";
  /** µs since the epoch. */
  receivedAt: number;
  /** Which connection of which run it came by. */
  connection: string;
  /** The message's type; empty when the frame isn't JSON or has none. */
  type: string;
  productId?: string;
  data: string | Uint8Array;
}

/** Something that happened to the feed; feedEventSchema in messages.ts names the events. */
export interface FeedEvent extends Pick<FeedEventMessage, "event" | "channel" | "reason" | "details"> {
  kind: "event";
  /** µs since the epoch. */
  receivedAt: number;
  connection: string;
  productId?: string;
}

/** What the feed yields. */
export type FeedItem = Frame | FeedEvent;
