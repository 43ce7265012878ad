/**
 * The channel `candles`: for each product and interval that is followed, a keeper that starts from ClickHouse and goes on
 * with the trades of the tap. A trade counts once by its id, so it doesn't matter which of the two was first.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { sleep } from "../backoff.ts";
import type { Logger } from "../log.ts";
import { isoMicros } from "../time.ts";
import { type CandleKeeper, candleStart, createCandleKeeper, keptCandles, type Trade } from "./candles.ts";
import type { Hub } from "./hub.ts";
import { firstLine, lingerMs, type LiveChannel, paceMs } from "./live.ts";
import { type Interval, parseInterval, type Topic, topicKey } from "./protocol.ts";
import { loadHistory, loadLastTrade, loadRuns } from "./seeds.ts";

/** A trade of the tap. */
export interface TapTrade extends Trade {
  /** µs. */
  receivedAt: number;
  /** Older than the newest when it came: the fill of a hole. */
  late: boolean;
}

/** See the module. */
export interface LiveCandles extends LiveChannel {
  /** A trade that wasn't seen before. */
  add(product: string, trade: TapTrade): void;
  /** The exchange's clock (µs) has come so far, says a heartbeat. */
  advance(product: string, time: number): void;
  /** Trades were missed: every keeper starts anew. */
  restart(): void;
}

interface Entry {
  topic: Topic;
  interval: Interval;
  keeper: CandleKeeper | undefined;
  /** Trades that came while ClickHouse was asked. */
  pending: TapTrade[];
  /** No trade of the tap has shown yet that nothing lies between the stored trades and it. */
  unproven: boolean;
  dirty: Set<number>;
  newest: { time: number; receivedAt: number };
  ready: Promise<void>;
  aliveSince: number;
  idleSince: number | undefined;
  /** Topics in the making that wait for `ready`. */
  waiting: number;
  troubles: Set<(reason: string) => void>;
  stopped: AbortController;
}

const snapshotCandles = 300;
/** Closed candles that late trades can change from the start on: no more than an hour's, for they are read trade by trade. */
const seedCandles = ({ step }: Interval) => Math.min(keptCandles - 1, Math.floor(3600e6 / step));
/** Between two tries to read the start. */
const retryMs = 500;
/** ClickHouse may lag behind the tap for so many tries; what is missing then is a hole of the tape. */
const patience = 20;

/** @param recent the trades of the last seconds of a product, in order */
export function createLiveCandles(
  options: {
    hub: Hub;
    warehouse: ClickHouseClient;
    log: Logger;
    recent: (product: string) => readonly TapTrade[];
    clock: (product: string) => number;
  },
): LiveCandles {
  const { hub, warehouse, log } = options;
  const entries = new Map<string, Entry>();
  const byProduct = new Map<string, Set<Entry>>();
  const timer = setInterval(() => {
    for (const entry of entries.values()) flush(entry);
  }, paceMs);

  function create(topic: Topic): Entry {
    const interval = parseInterval(topic.interval ?? "");
    if (interval === undefined) throw new RangeError(`Not an interval: ${topic.interval}`);
    const entry: Entry = {
      topic,
      interval,
      keeper: undefined,
      pending: [],
      unproven: true,
      dirty: new Set(),
      newest: { time: 0, receivedAt: 0 },
      ready: Promise.resolve(),
      aliveSince: hub.seq,
      idleSince: undefined,
      waiting: 0,
      troubles: new Set(),
      stopped: new AbortController(),
    };
    entries.set(topicKey(topic), entry);
    const group = byProduct.get(topic.productId) ?? new Set();
    byProduct.set(topic.productId, group.add(entry));
    begin(entry);
    return entry;
  }

  function begin(entry: Entry): void {
    entry.keeper = undefined;
    entry.dirty.clear();
    entry.pending = [...options.recent(entry.topic.productId)];
    entry.ready = seed(entry);
  }

  /** Reads the start again and again until it reaches the first trade of the tap. */
  async function seed(entry: Entry): Promise<void> {
    const { topic: { productId, interval: name = "" }, interval, stopped: { signal } } = entry;
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        const last = await loadLastTrade(warehouse, productId);
        const newest = Math.max(last.time, options.clock(productId));
        const since = Math.max(0, candleStart(newest, interval) - seedCandles(interval) * interval.step);
        const history = await loadHistory(warehouse, productId, name, interval, since, snapshotCandles);
        const runs = await loadRuns(warehouse, productId, interval, since);
        const first = entry.pending.find(({ late }) => !late);
        if (first !== undefined && first.id > last.id + 1 && tries < patience) {
          await sleep(retryMs, signal);
          continue;
        }
        if (signal.aborted) return;
        const keeper = createCandleKeeper(interval, { history, runs, since, now: newest });
        for (const trade of entry.pending) {
          keeper.advance(trade.time);
          keeper.add(trade);
        }
        entry.unproven = first === undefined;
        entry.pending = [];
        entry.keeper = keeper;
        return;
      } catch (error) {
        if (signal.aborted) return;
        const reason = `candles of ${productId} wait for ClickHouse: ${firstLine(error)}`;
        if (tries === 1) log.warn(reason);
        for (const tell of entry.troubles) tell(reason);
        entry.troubles.clear();
        await sleep(retryMs, signal);
      }
    }
  }

  function publish(entry: Entry, start: number): void {
    const { topic: { productId, interval }, keeper, newest } = entry;
    if (keeper === undefined) return;
    hub.publish([topicKey(entry.topic)], "candles", {
      product_id: productId,
      interval,
      time: isoMicros(newest.time),
      received_at: isoMicros(newest.receivedAt),
      candle: keeper.row(start),
    });
  }

  function flush(entry: Entry): void {
    for (const start of entry.dirty) publish(entry, start);
    entry.dirty.clear();
  }

  function close(entry: Entry, time: number): void {
    // What is over doesn't wait for the pace.
    const closed = entry.keeper?.advance(time) ?? [];
    for (const start of closed) {
      entry.dirty.delete(start);
      publish(entry, start);
    }
    // What is no longer kept can't be said again.
    if (closed.length > 0) flush(entry);
  }

  return {
    add(product, trade) {
      for (const entry of byProduct.get(product) ?? []) {
        const { keeper } = entry;
        if (keeper === undefined) {
          entry.pending.push(trade);
          continue;
        }
        if (entry.unproven && !trade.late) {
          entry.unproven = false;
          if (trade.id > keeper.lastId + 1) {
            begin(entry);
            continue;
          }
        }
        if (!trade.late) close(entry, trade.time);
        const start = keeper.add(trade);
        if (start === undefined) continue;
        entry.newest = { time: trade.time, receivedAt: trade.receivedAt };
        entry.dirty.add(start);
      }
    },
    advance(product, time) {
      for (const entry of byProduct.get(product) ?? []) close(entry, time);
    },
    restart() {
      for (const entry of entries.values()) begin(entry);
    },
    async prepare(topic, onTrouble) {
      const entry = entries.get(topicKey(topic)) ?? create(topic);
      entry.waiting++;
      entry.troubles.add(onTrouble);
      try {
        // A restart makes another promise.
        while (entry.keeper === undefined && !entry.stopped.signal.aborted) await entry.ready;
      } finally {
        entry.waiting--;
        entry.troubles.delete(onTrouble);
      }
    },
    snapshot(topic) {
      const entry = entries.get(topicKey(topic));
      if (entry?.keeper === undefined) return [];
      // The snapshot holds what is dirty: those who follow already hear of it at the same number.
      flush(entry);
      const { productId, interval } = topic;
      return [{
        type: "candles_snapshot",
        fields: { product_id: productId, interval, candles: entry.keeper.rows(snapshotCandles) },
      }];
    },
    aliveSince: (topic) => {
      const entry = entries.get(topicKey(topic));
      return entry?.keeper === undefined ? Infinity : entry.aliveSince;
    },
    sweep() {
      for (const [key, entry] of entries) {
        if (entry.waiting > 0 || hub.count(key) > 0) entry.idleSince = undefined;
        else entry.idleSince ??= performance.now();
        if (entry.idleSince === undefined || performance.now() - entry.idleSince < lingerMs) continue;
        entry.stopped.abort();
        entries.delete(key);
        const group = byProduct.get(entry.topic.productId);
        group?.delete(entry);
        if (group?.size === 0) byProduct.delete(entry.topic.productId);
      }
    },
    stop() {
      clearInterval(timer);
      for (const { stopped } of entries.values()) stopped.abort();
    },
  };
}
