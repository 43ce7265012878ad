import assert from "node:assert/strict";
import type { ClickHouseClient } from "@clickhouse/client";
import { createLogger } from "../process/log.ts";
import type { CandleRow } from "./candle_series.ts";
import { Hub } from "./hub.ts";
import { LiveCandles, type LiveTrade } from "./live_candles.ts";

const noon = Date.parse("2026-07-07T12:00:00Z") * 1000;

/** Candles of a minute of A-B, over a ClickHouse whose answers wait until the test gives them. */
function setUp() {
  const recent: LiveTrade[] = [];
  const reads: ((answer: unknown) => void)[] = [];
  const live = new LiveCandles({
    hub: new Hub({ messages: 10, length: 1e6, ms: 1e9, computed: { messages: 1000, length: 1e6 } }),
    clickhouse: {} as ClickHouseClient,
    log: createLogger({}, { write: () => {} }),
    readSnapshot: <T>() => {
      const { promise, resolve } = Promise.withResolvers<T>();
      reads.push(resolve as (answer: unknown) => void);
      return promise;
    },
    recent: () => recent,
    clock: () => 0,
  });
  const topic = { channel: "candles", productId: "A-B", interval: "1m" } as const;
  live.open(topic, "one");
  return {
    live,
    topic,
    add(id: number) {
      const trade: LiveTrade = {
        id,
        time: noon + id,
        price: "10",
        size: "1",
        takerSide: "buy",
        receivedAt: noon + id,
        late: false,
      };
      recent.push(trade);
      live.add("A-B", trade);
    },
    /** The reading that has begun, to be answered: the newest trade, no closed candles, the trades 1 … `stored` in a run. */
    shiftReading() {
      let next = reads.shift();
      return async (stored: number) => {
        const units = BigInt(stored) * 10n ** 18n;
        const price = 10n * 10n ** 18n;
        const run = {
          start: noon,
          firstId: 1,
          lastId: stored,
          open: price,
          high: price,
          low: price,
          close: price,
          volume: units,
          quoteVolume: units * price,
          buyVolume: units,
          trades: stored,
        };
        for (const answer of [{ id: stored, time: noon + stored }, [], [run]]) {
          next?.(answer);
          await new Promise((resolve) => setTimeout(resolve));
          next = reads.shift();
        }
      };
    },
    trades: () =>
      live.snapshot(topic).flatMap(({ fields }) =>
        (fields as { candles: CandleRow[] }).candles.map(({ trades }) => trades)
      ),
  };
}

Deno.test("stream: candles begin with what is stored and go on with the live ones, each trade once", async () => {
  const { live, add, shiftReading, trades } = setUp();
  try {
    add(4);
    add(5);
    assert.deepEqual(trades(), []);
    await shiftReading()(4);
    assert.deepEqual(trades(), [5]);
    add(5);
    add(6);
    assert.deepEqual(trades(), [6]);
  } finally {
    live.stop();
  }
});

Deno.test("stream: candles that begin anew have the trades that were missed", async () => {
  const { live, topic, add, shiftReading, trades } = setUp();
  try {
    add(1);
    await shiftReading()(1);
    live.restart();
    assert.deepEqual([trades(), live.aliveSince(topic)], [[], Infinity]);
    add(6);
    await shiftReading()(5);
    assert.deepEqual(trades(), [6]);
  } finally {
    live.stop();
  }
});

Deno.test("stream: candles that begin anew twice at once lose no trade", async () => {
  const { live, add, shiftReading, trades } = setUp();
  try {
    add(1);
    await shiftReading()(1);
    // Messages of two partitions were lost.
    live.restart();
    const first = shiftReading();
    live.restart();
    const second = shiftReading();
    add(6);
    await first(5);
    add(7);
    await second(5);
    assert.deepEqual(trades(), [7]);
  } finally {
    live.stop();
  }
});
