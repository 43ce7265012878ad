/**
 * What every process that talks to Kafka tells of it.
 *
 * @module
 */

import { Counter, type Registry } from "prom-client";

/** The errors of a Kafka client. */
export interface KafkaErrors {
  /** To be handed to `openBroker`. */
  note(message: string): void;
  /** The newest, when it is no older than `recentMs`. */
  recent(): string | null;
}

const recentMs = 30_000;

/** Counts the client's errors and remembers the newest. */
export function countKafkaErrors(registry: Registry): KafkaErrors {
  const errors = new Counter({
    name: "tapehouse_kafka_errors_total",
    help: "Errors of the Kafka client; it tries again by itself.",
    registers: [registry],
  });
  let last: { message: string; at: number } | undefined;
  return {
    note(message) {
      errors.inc();
      last = { message, at: performance.now() };
    },
    recent: () => last !== undefined && performance.now() - last.at < recentMs ? last.message : null,
  };
}
