/**
 * What a service tells of its side of Kafka: the client's errors, and what the broker hasn't confirmed yet.
 *
 * @module
 */

import { type Registry } from "prom-client";
import { ageSeconds, gauge } from "../process/gauge.ts";
import type { Publisher } from "./publisher.ts";
import type { KafkaErrors } from "../kafka/error_counter.ts";

/** A publisher, watched from outside. */
export interface PublisherWatch {
  /** To be called after each batch that the broker has confirmed. */
  sent(): void;
  /** Why Kafka can't be relied on now. */
  reason(): string | null;
  /** Batches that the broker has confirmed. */
  readonly confirmed: number;
  /** What the publisher should do by itself now: something waits, and nobody sends it. */
  due(): string | null;
}

/** A message that the broker hasn't confirmed after so long (s) is a sign that it is away: usual are milliseconds. */
const lateSeconds = 3;

/**
 * Tells of what waits for the broker's confirmation.
 *
 * @param publisher undefined while it isn't connected yet
 */
export function watchPublisher(
  registry: Registry,
  publisher: () => Publisher | undefined,
  errors: KafkaErrors,
): PublisherWatch {
  const registers = [registry];
  const nothing = { messages: 0, bytes: 0, oldestAt: undefined, isFull: false, isSending: false };
  const waiting = () => publisher()?.waiting ?? nothing;
  const oldestSeconds = () => ageSeconds(waiting().oldestAt);
  let confirmed = 0;
  let confirmedAt = 0;

  gauge(registers, "tapehouse_publisher_pending_messages", {
    help: "Messages that the publisher has taken and the broker hasn't confirmed.",
    value: () => waiting().messages,
  });
  gauge(registers, "tapehouse_publisher_pending_bytes", {
    help: "Bytes of those messages.",
    value: () => waiting().bytes,
  });
  gauge(registers, "tapehouse_publisher_oldest_pending_seconds", {
    help: "Since the oldest of those messages was received; 0 when there is none.",
    value: oldestSeconds,
  });
  gauge(registers, "tapehouse_publisher_confirmed_timestamp_seconds", {
    help: "When the broker last confirmed a batch, seconds since 1970; 0 before the first.",
    value: () => confirmedAt,
  });

  return {
    sent() {
      confirmed++;
      confirmedAt = Date.now() / 1000;
    },
    reason() {
      const because = errors.recent();
      const suffix = because === null ? "" : `; last error: ${because}`;
      if (publisher() === undefined) return `Kafka: not connected yet${suffix}`;
      const seconds = oldestSeconds();
      if (seconds < lateSeconds) return null;
      const { messages } = waiting();
      return `Kafka: ${messages} messages wait for its confirmation, the oldest for ${
        Math.round(seconds)
      } s${suffix}`;
    },
    get confirmed() {
      return confirmed;
    },
    due() {
      const { messages, isSending } = waiting();
      return messages > 0 && !isSending ? `${messages} messages wait and none is being sent` : null;
    },
  };
}
