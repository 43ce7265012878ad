/**
 * The same market for everybody who is measured: a simulated one, as fast as it can be made.
 *
 * @module
 */

import { createSimulation } from "../exchange/simulation.ts";
import { nowMicros } from "../lib/core/time.ts";
import { type KafkaRecord, toKafkaRecord } from "../lib/feed/kafka_record.ts";
import type { Config } from "../lib/process/config.ts";

/** Which messages. */
export interface MarketOptions {
  seed: string;
  products: readonly string[];
  messages: number;
  /** Nothing but matches, or all that the feed says. */
  matchesOnly: boolean;
}

/** A frame as a producer would have received it. */
export interface Received {
  /** µs since the epoch. */
  at: number;
  text: string;
  type: string;
  /** Empty where it speaks of none. */
  product: string;
}

/** Matches and tickers a second of the simulated clock. */
const rate = 10_000;
const stepMicros = 100_000;
/** On its way from the exchange. */
const travelMicros = 20_000;
const connection = "bench-1";

/** What the records say of where they come from. */
export const source = "simulator";

/** The market's messages, a tenth of a second of it at a time; the newest is of now. */
export function* frameSteps({ seed, products, messages, matchesOnly }: MarketOptions): Generator<Received[]> {
  const perSecond = matchesOnly ? rate / 2 : rate;
  let now = nowMicros() - Math.ceil(messages / perSecond) * 1.1e6;
  const market = createSimulation({ seed, products, rate, clock: () => now });
  const received = ({ text, type, product }: { text: string; type: string; product: string }) => ({
    at: now + travelMicros,
    text,
    type,
    product,
  });
  let sent = 0;
  if (!matchesOnly) {
    const opening = products.flatMap((product) => market.opening("level2_batch", product)).map(received);
    sent += opening.length;
    yield opening;
  }
  while (sent < messages) {
    now += stepMicros;
    const frames = market.pull((channel) => matchesOnly ? channel === "matches" : channel !== "ticker_batch")
      .map(received);
    sent += frames.length;
    yield frames;
  }
}

/** The record that producer.ts makes of a frame. */
export function toRecord(
  { at, text, type, product }: Received,
  { KAFKA_TOPIC: topic, KAFKA_LEVEL2_TOPIC: level2Topic }: Config<"KAFKA_TOPIC" | "KAFKA_LEVEL2_TOPIC">,
): KafkaRecord {
  const item = { kind: "frame", receivedAt: at, connection, type, data: text } as const;
  return toKafkaRecord(product === "" ? item : { ...item, productId: product }, {
    topic,
    level2Topic,
    source,
  });
}
