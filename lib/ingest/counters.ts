/**
 * What the consumer counts of batches. consumer_watch.ts has what is told while nothing comes.
 *
 * @module
 */

import { Counter, Histogram, type Registry } from "prom-client";
import { nowMicros } from "../core/time.ts";
import { latencyBuckets } from "../process/metrics_server.ts";
import type { BatchRows, Written } from "./batch_rows.ts";

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
      const now = nowMicros();
      for (const received of content.receivedAt) freshness.observe((now - received) / 1e6);
    },
  };
}
