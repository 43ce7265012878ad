/**
 * The API's metrics.
 *
 * @module
 */

import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { latencyBuckets } from "../process/metrics_server.ts";
import type { LagReader } from "./cache/consumer_lag.ts";
import type { OnRefused } from "./env.ts";
import type { QueryListener } from "./lanes.ts";
import type { OnAnswer } from "./middleware/measure.ts";
import type { ReadClient } from "./read_client.ts";

/** What is counted of requests and their queries. */
export interface ApiMetrics extends Required<QueryListener> {
  onAnswer: OnAnswer;
  /** A request that wasn't even looked at. */
  onAccessRefused: OnRefused;
}

/** @param load how many queries run and wait now */
export function watchRequests(registry: Registry, load: ReadClient["load"]): ApiMetrics {
  const registers = [registry];
  const answers = new Counter({
    name: "tapehouse_api_requests_total",
    help: "Answers, by route and status.",
    labelNames: ["route", "status"] as const,
    registers,
  });
  const seconds = new Histogram({
    name: "tapehouse_api_request_seconds",
    help: "From a request to its answer's first byte.",
    labelNames: ["route"] as const,
    buckets: latencyBuckets,
    registers,
  });
  const refused = new Counter({
    name: "tapehouse_api_refused_total",
    help:
      "Requests that were refused, by reason: host, origin, rate, token; queries by lane: LANE_client_queue (one client " +
      "asks for too much at once), LANE_queue (all together do), LANE_wait (no place came free).",
    labelNames: ["reason"] as const,
    registers,
  });
  const waits = new Histogram({
    name: "tapehouse_api_query_wait_seconds",
    help: "How long a query waited for a place, by lane.",
    labelNames: ["lane"] as const,
    buckets: latencyBuckets,
    registers,
  });
  for (const state of ["running", "waiting"] as const) {
    new Gauge({
      name: `tapehouse_api_queries_${state}`,
      help: `Queries that are ${state} now, by lane.`,
      labelNames: ["lane"] as const,
      registers,
      collect() {
        for (const [lane, counts] of Object.entries(load())) this.set({ lane }, counts[state]);
      },
    });
  }
  return {
    onAnswer(route, status, took) {
      answers.inc({ route, status: String(status) });
      seconds.observe({ route }, took);
    },
    onAccessRefused: (reason) => refused.inc({ reason }),
    onRefused: (lane, reason) => refused.inc({ reason: `${lane}_${reason}` }),
    onPlace: (lane, waited) => waits.observe({ lane }, waited),
  };
}

/** What waits in Kafka, also where no consumer.ts runs: ClickHouse's Kafka engine has no metrics of its own. */
export function watchLag(registry: Registry, lag: LagReader): void {
  new Gauge({
    name: "tapehouse_api_kafka_up",
    help: "1 while the broker answers the API.",
    registers: [registry],
    async collect() {
      this.set((await lag.current()).ok ? 1 : 0);
    },
  });
  new Gauge({
    name: "tapehouse_api_lag_messages",
    help: "Messages in the topics that are not stored yet, over all partitions; NaN while Kafka is away.",
    registers: [registry],
    async collect() {
      this.set((await lag.current()).lag ?? NaN);
    },
  });
}
