/**
 * The consumer's metrics: what it counts of batches, and what is told of partitions while nothing comes.
 *
 * @module
 */

import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { nowMicros } from "../core/time.ts";
import { messagesBehind, retentionLeft, type TopicRetention } from "../kafka/lag.ts";
import { gauge } from "../process/gauge.ts";
import { latencyBuckets } from "../process/metrics_server.ts";
import type { BatchRows, Written } from "./batch_rows.ts";
import { endPerSecond, oldestAge, type PartitionProgress } from "./partition_progress.ts";

/** Counts. */
export interface IngestCounters {
  lostMessages: Counter<"topic" | "partition">;
  repairs: Counter;
  clickhouseErrors: Counter;
  /** A batch is stored now. */
  written(batch: { content: BatchRows; isCommitted: boolean }, written: Written): void;
}

/** Makes the counters. */
export function createIngestCounters(registry: Registry): IngestCounters {
  const registers = [registry];
  const rows = new Counter({
    name: "tapehouse_rows_total",
    help: "Rows that ClickHouse has confirmed, by table.",
    labelNames: ["table"],
    registers,
  });
  const repeatedTrades = new Counter({
    name: "tapehouse_repeated_trades_total",
    help: "Trades that were stored already and were not inserted again.",
    registers,
  });
  const restoredRows = new Counter({
    name: "tapehouse_restored_rows_total",
    help:
      "Rows that were committed to Kafka as stored, weren't in ClickHouse any more, and were written again.",
    registers,
  });
  const freshness = new Histogram({
    name: "tapehouse_freshness_seconds",
    help: "From the frame's arrival at the producer to its rows being queryable.",
    buckets: latencyBuckets,
    registers,
  });
  const messages = new Counter({
    name: "tapehouse_messages_total",
    help: "Messages that were read and whose rows ClickHouse has confirmed, by type; rejected is one.",
    labelNames: ["type"],
    registers,
  });
  return {
    lostMessages: new Counter({
      name: "tapehouse_kafka_lost_messages_total",
      help: "Messages that expired in the topic before they were read.",
      labelNames: ["topic", "partition"],
      registers,
    }),
    repairs: new Counter({
      name: "tapehouse_repairs_total",
      help: "Products whose trades, runs and candles disagreed and were mended.",
      registers,
    }),
    clickhouseErrors: new Counter({
      name: "tapehouse_clickhouse_errors_total",
      help: "Statements that ClickHouse didn't confirm; each is tried again.",
      registers,
    }),
    written({ content, isCommitted }, written) {
      for (const [type, count] of content.types) messages.inc({ type }, count);
      for (const [table, count] of Object.entries(written.rows)) rows.inc({ table }, count);
      if (isCommitted) restoredRows.inc(written.missing);
      else repeatedTrades.inc(written.repeatedTrades);
      // What is only looked at again has been fresh long ago.
      if (isCommitted) return;
      const now = nowMicros();
      for (const received of content.receivedAt) freshness.observe((now - received) / 1e6);
    },
  };
}

/** What the gauges are computed from when they are asked for. */
interface Progress {
  partitions(): Iterable<PartitionProgress>;
  retentionOf(topic: string): TopicRetention | undefined;
  assignedCount(): number;
}

/** Makes them. */
export function createMetrics(registry: Registry, progress: Progress) {
  const registers = [registry];
  /** Partitions of which nothing is known are left out. */
  const perPartition = (
    name: string,
    help: string,
    value: (known: PartitionProgress) => number | undefined,
  ) =>
    new Gauge({
      name,
      help,
      labelNames: ["topic", "partition"],
      registers,
      collect() {
        this.reset();
        for (const known of progress.partitions()) {
          const found = value(known);
          if (found !== undefined) this.set({ topic: known.topic, partition: known.partition }, found);
        }
      },
    });
  perPartition(
    "tapehouse_lag_messages",
    "Messages in the topic that are not in ClickHouse yet.",
    messagesBehind,
  );
  perPartition(
    "tapehouse_oldest_unwritten_seconds",
    "Since the oldest message that is not in ClickHouse was received; 0 when all are.",
    oldestAge,
  );
  perPartition(
    "tapehouse_inflight_seconds",
    "Since the batch under way was begun; 0 when there is none.",
    ({ inflight }) => inflight === undefined ? 0 : (performance.now() - inflight.since) / 1000,
  );
  perPartition(
    "tapehouse_retention_left_seconds",
    "Until Kafka may delete a message that is not in ClickHouse; estimated from below.",
    (known) => {
      const limits = progress.retentionOf(known.topic);
      return limits && retentionLeft(known, limits, oldestAge(known), endPerSecond(known));
    },
  );
  gauge(registers, "tapehouse_assigned_partitions", {
    help: "Partitions that the group has given to this consumer.",
    value: () => progress.assignedCount(),
  });
  return createCounters(registers);
}

function createCounters(registers: Registry[]) {
  return {
    pollErrors: new Counter({
      name: "tapehouse_lag_poll_errors_total",
      help: "Looks at the broker that failed: lag and retention left are as old as the last one that didn't.",
      registers,
    }),
    polled: new Gauge({
      name: "tapehouse_lag_polled_timestamp_seconds",
      help: "When the broker last told of offsets, seconds since 1970.",
      registers,
    }),
    rebalances: new Counter({
      name: "tapehouse_rebalances_total",
      help: "Times that the group has given this consumer its partitions.",
      registers,
    }),
    lastCommit: new Gauge({
      name: "tapehouse_last_commit_timestamp_seconds",
      help: "When a batch was last stored and committed, seconds since 1970.",
      labelNames: ["topic", "partition"],
      registers,
    }),
  };
}
