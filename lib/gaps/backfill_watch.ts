/**
 * What backfill.ts tells of itself: counters, and why it can't be relied on.
 *
 * @module
 */

import { Counter, type Registry } from "prom-client";
import { RestError } from "../feed/coinbase_rest.ts";
import type { Publisher } from "../feed/publisher.ts";
import { watchPublisher } from "../feed/publisher_metrics.ts";
import { countKafkaErrors } from "../kafka/error_counter.ts";
import type { Reporting } from "../process/service.ts";
import { type Blocks, createBlocks } from "./watch.ts";

/** Backfill, watched from outside. Nothing here can fail or wait. */
export interface BackfillWatch {
  filled(trades: number): void;
  givenUp(trades: number): void;
  invalidRows(count: number): void;
  /** A request to REST has ended: `ok`, the HTTP status, or `error` with why. */
  request(outcome: string, error?: unknown): void;
  /** An error of the Kafka client. */
  kafkaError(message: string): void;
  /** What is being waited for before the start is over; undefined once it is, with what is produced through. */
  starting(reason: string): void;
  started(publisher: Publisher): void;
  /** The broker has confirmed a batch. */
  sent(): void;
  /** ClickHouse has answered (null), or didn't, and why. */
  clickhouse(reason: string | null): void;
  /** Why REST's answers prove nothing; undefined when they do. */
  doubt(reason: string | undefined): void;
  /** Products that REST refuses, by purpose. */
  blocks: Blocks;
  /** The first thing that is wrong. */
  trouble(): string | null;
}

/** Readiness and liveness are the service's from now on. */
export function watchBackfill(
  { registry, log, setHealth, watch }: Reporting,
  { againMs, intervalSeconds }: { againMs: number; intervalSeconds: number },
): BackfillWatch {
  const counters = createCounters(registry);
  const blocks = createBlocks(log, againMs);
  const errors = countKafkaErrors(registry);
  let publisher: Publisher | undefined;
  const publishing = watchPublisher(registry, () => publisher, errors);
  let start: string | null = "ClickHouse doesn't answer";
  let clickhouse: string | null = null;
  let doubt: string | null = null;
  let rest: string | null = null;
  const trouble = () => start ?? clickhouse ?? blocks.describe() ?? rest ?? doubt;
  /** Answers, errors and rounds; none of the waits for another system is longer than the watchdog's limit. */
  let steps = 0;
  setHealth(() => [trouble() ?? "", start === null ? publishing.reason() ?? "" : ""]);
  watch({
    limitSeconds: 300 + 2 * intervalSeconds,
    // Before the start is over, and while the publisher is full, others are waited for.
    due: () => publisher === undefined || publisher.waiting.isFull ? null : "the round doesn't go on",
    progress: () => steps,
  });
  return {
    filled: (trades) => counters.filled.inc(trades),
    givenUp: (trades) => counters.givenUp.inc(trades),
    invalidRows: (count) => counters.invalidRows.inc(count),
    request(outcome, error) {
      steps++;
      counters.requests.inc({ outcome });
      // Who refuses, answers.
      rest = error instanceof Error && !(error instanceof RestError) ? `REST: ${error.message}` : null;
    },
    kafkaError: errors.note,
    starting(reason) {
      start = reason;
    },
    started(opened) {
      publisher = opened;
      start = null;
    },
    sent: publishing.sent,
    clickhouse(reason) {
      steps++;
      clickhouse = reason === null ? null : `ClickHouse: ${reason}`;
    },
    doubt(reason) {
      doubt = reason === undefined ? null : `REST: ${reason}`;
    },
    blocks,
    trouble,
  };
}

function createCounters(registry: Registry) {
  const registers = [registry];
  return {
    filled: new Counter({
      name: "tapehouse_backfill_trades_total",
      help: "Missing trades that REST had and that were produced.",
      registers,
    }),
    givenUp: new Counter({
      name: "tapehouse_backfill_given_up_trades_total",
      help: "Missing trades that were given up: REST proved again and again not to have them.",
      registers,
    }),
    requests: new Counter({
      name: "tapehouse_rest_requests_total",
      help: "REST requests, by outcome: ok, the HTTP status, or error.",
      labelNames: ["outcome"],
      registers,
    }),
    invalidRows: new Counter({
      name: "tapehouse_rest_invalid_rows_total",
      help: "Rows of REST that aren't trades as Coinbase describes them: has the format changed?",
      registers,
    }),
  };
}
