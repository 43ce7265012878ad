/**
 * A bad network and a bad exchange: how frames get lost, repeated, late or spoiled.
 *
 * @module
 */

import type { Random } from "./market.ts";

/** How often the exchange misbehaves: of each frame, by chance. */
export interface Manners {
  drop: number;
  repeat: number;
  delay: number;
  spoil: number;
}

/** Every frame as it should be. */
export const goodManners: Manners = { drop: 0, repeat: 0, delay: 0, spoil: 0 };

type Frame = string | Uint8Array<ArrayBuffer>;

/**
 * What goes out when `text` is to be sent: nothing, it, or something else.
 *
 * @param held frames that are late; changed
 * @param done how often it misbehaved, by manner; changed
 */
export function framesInstead(
  text: string,
  { manners, held, done, random }: { manners: Manners; held: string[]; done: Manners; random: Random },
): Frame[] {
  const roll = random();
  const { drop, repeat, delay, spoil } = manners;
  if (roll < drop) {
    done.drop++;
    return [];
  }
  if (roll < drop + delay) {
    done.delay++;
    held.push(text);
    return [];
  }
  if (roll < drop + delay + spoil) {
    done.spoil++;
    return [spoiled(text, random)];
  }
  const frames = [text];
  if (roll < drop + delay + spoil + repeat) {
    done.repeat++;
    frames.push(text);
  }
  // What was held comes behind something newer, a while later.
  if (held.length > 0 && random() < 0.1) {
    frames.push(...held.splice(Math.floor(random() * held.length), 1));
  }
  return frames;
}

function spoiled(text: string, random: Random): Frame {
  const kind = Math.floor(random() * 5);
  if (kind === 0) return text.slice(0, Math.floor(text.length * random()));
  if (kind === 1) return crypto.getRandomValues(new Uint8Array(200));
  if (kind === 2) {
    return text.replace(/"trade_id":\d+/, '"trade_id":"none"').replace(/"price":"/, '"price":["');
  }
  if (kind === 3) return text.replace(/"(price|size|time)":"[^"]*"/g, '"$1":{"a":null}');
  return "[".repeat(500);
}
