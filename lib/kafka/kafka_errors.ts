/**
 * What Kafka's errors mean: which can't be cured by trying again, and what to do about them.
 *
 * @module
 */

import { type Refusal, tlsRefusal } from "../process/certificates.ts";
import { ConfigError, FatalError } from "../core/errors.ts";

const rights = "docs/kafka.md lists the rights that each service needs";

/** Kafka's error → what to tell. Whatever isn't here may pass by itself. */
const byType: Record<string, Refusal> = {
  TOPIC_AUTHORIZATION_FAILED: {
    text: `Kafka refuses this user the topic: ${rights}.`,
    configuration: false,
  },
  GROUP_AUTHORIZATION_FAILED: {
    text: `Kafka refuses this user the group KAFKA_GROUP: ${rights}.`,
    configuration: false,
  },
  CLUSTER_AUTHORIZATION_FAILED: {
    text: `Kafka refuses this user to write idempotently, or to create topics: ${rights}.`,
    configuration: false,
  },
  INVALID_SESSION_TIMEOUT: {
    text:
      "Kafka refused KAFKA_SESSION_MS: it lies outside the broker's group.min.session.timeout.ms (usually 6000) and " +
      "group.max.session.timeout.ms (usually 1800000).",
    configuration: true,
  },
  UNSUPPORTED_SASL_MECHANISM: {
    text: "The broker doesn't know this mechanism: set KAFKA_SASL_MECHANISM to one that it offers.",
    configuration: true,
  },
  ILLEGAL_SASL_STATE: {
    text:
      "The broker doesn't want SASL here: set KAFKA_SASL_MECHANISM=none, or KAFKA_BROKERS to its SASL port.",
    configuration: true,
  },
  INVALID_REPLICATION_FACTOR: {
    text: "KAFKA_REPLICATION is more than there are brokers, or not what this cluster asks for.",
    configuration: true,
  },
  INVALID_PARTITIONS: { text: "Kafka refuses KAFKA_PARTITIONS.", configuration: true },
  INVALID_TOPIC_EXCEPTION: { text: "Kafka refuses the name of the topic.", configuration: true },
  INVALID_CONFIG: {
    text: "Kafka refuses the topic's settings: look at KAFKA_MAX_MESSAGE_BYTES, KAFKA_RETENTION_HOURS and " +
      "KAFKA_MIN_INSYNC_REPLICAS, or create the topic yourself.",
    configuration: true,
  },
  POLICY_VIOLATION: {
    text:
      "A policy of this cluster refuses the topic: look at KAFKA_PARTITIONS, KAFKA_REPLICATION, KAFKA_MAX_MESSAGE_BYTES " +
      "and KAFKA_RETENTION_HOURS, or create the topic yourself.",
    configuration: true,
  },
  INVALID_TIMESTAMP: {
    text:
      "Kafka refuses messages for their time: this machine's clock or the broker's is wrong by more than the topic's " +
      "message.timestamp.before.max.ms or message.timestamp.after.max.ms.",
    configuration: false,
  },
  INVALID_RECORD: {
    text: "Kafka refuses messages of this form: the topic must have cleanup.policy=delete.",
    configuration: false,
  },
  INVALID_REQUIRED_ACKS: { text: "Kafka refuses acks=all.", configuration: false },
  UNSUPPORTED_VERSION: {
    text: "This broker is too old: Kafka 2.1 or newer is needed.",
    configuration: false,
  },
};

/** The error and what caused it, outermost first. */
function* causes(error: unknown): Generator<Error & { type?: string; code?: unknown; broker?: string }> {
  for (let depth = 0; error instanceof Error && depth < 10; depth++) {
    yield error;
    if ("errors" in error && Array.isArray(error.errors)) error = error.errors[0];
    else error = error.cause;
  }
}

/** Kafka's name of the error, such as MESSAGE_TOO_LARGE; undefined when the broker didn't answer with one. */
export function kafkaErrorType(error: unknown): string | undefined {
  for (const cause of causes(error)) if (typeof cause.type === "string") return cause.type;
  return undefined;
}

/** Why trying again can't help; undefined when it may. */
function refusalOf(error: unknown): Refusal | undefined {
  for (const cause of causes(error)) {
    if (cause.name === "KafkaJSSASLAuthenticationError") {
      const what = /mechanism is not supported/.test(cause.message)
        ? "Kafka refused the mechanism"
        : "Kafka refused the credentials";
      return {
        text: `${what}: ${cause.message}. Check KAFKA_SASL_MECHANISM, KAFKA_USERNAME and KAFKA_PASSWORD.`,
        configuration: true,
      };
    }
    const known = typeof cause.type === "string" ? byType[cause.type] : undefined;
    if (known) {
      const topic = "topic" in cause && typeof cause.topic === "string" ? `topic ${cause.topic}: ` : "";
      return { ...known, text: `${topic}${known.text} (${cause.message.replace(/\.$/, "")})` };
    }
    const tls = tlsRefusal(cause, tlsNames);
    if (tls) return { ...tls, text: `Kafka at ${cause.broker ?? "KAFKA_BROKERS"}: ${tls.text}` };
  }
  return undefined;
}

const tlsNames = {
  ca: "KAFKA_CA_FILE",
  cert: "KAFKA_CERT_FILE",
  key: "KAFKA_KEY_FILE",
  address: "KAFKA_BROKERS",
} as const;

/** Turns what can't be cured by trying again into one line for a person; whatever else stays as it is. */
export function explainBrokerError(error: unknown): unknown {
  const refusal = refusalOf(error);
  return refusal ? new FatalError(refusal.text) : error;
}

/** The same at the start, when wrong variables are known as such: exit code 2. */
export function explainAtStart(error: unknown): unknown {
  const refusal = refusalOf(error);
  return refusal?.configuration ? new ConfigError(refusal.text) : explainBrokerError(error);
}

/** What a connection that breaks off at once may mean; it may also be a broker that is starting. */
export function hintOf(error: unknown): string | undefined {
  for (const { message } of causes(error)) {
    if (/before secure TLS connection|^(Connection error: )?Closed connection/.test(message)) {
      return "a broker that closes every connection may want another KAFKA_TLS, KAFKA_SASL_MECHANISM or port";
    }
  }
  return undefined;
}
