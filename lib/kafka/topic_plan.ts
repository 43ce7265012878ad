/**
 * The wanted topic settings, and how a topic differs. Rules; topics.ts asks the broker.
 *
 * @module
 */

import { ConfigError } from "../core/errors.ts";
import type { Config, Variable } from "../process/config.ts";

/** What `topicSettings` reads. */
export const topicVariables = [
  "KAFKA_TOPIC",
  "KAFKA_LEVEL2_TOPIC",
  "KAFKA_PARTITIONS",
  "KAFKA_REPLICATION",
  "KAFKA_MIN_INSYNC_REPLICAS",
  "KAFKA_RETENTION_HOURS",
  "KAFKA_MAX_MESSAGE_BYTES",
  "KAFKA_MANAGE_TOPICS",
] as const satisfies readonly Variable[];

/** What a topic should be. */
export interface TopicSettings {
  topic: string;
  partitions: number;
  replication: number;
  config: Record<string, string>;
  /** Services create it where it is missing. */
  managed: boolean;
}

/** A topic as the broker has it. */
export interface TopicState {
  partitions: number;
  /** The fewest copies of any partition. */
  replication: number;
  /** Its settings in force; undefined when the broker doesn't let us read them. `own`: set on this very topic. */
  config?: Map<string, { value: string; own: boolean }>;
}

/** What a writer has to keep to. */
export interface TopicLimits {
  partitions: number;
  /** The most bytes of a batch, and so of a message; undefined when the broker doesn't let us read it. */
  maxMessageBytes: number | undefined;
}

/** Less than this would turn ordinary frames into feed events. */
const leastMessageBytes = 65_536;

/**
 * The settings of the two topics.
 *
 * @throws {ConfigError} when KAFKA_MIN_INSYNC_REPLICAS is more than KAFKA_REPLICATION
 */
export function topicSettings(config: Config<(typeof topicVariables)[number]>): TopicSettings[] {
  const { KAFKA_REPLICATION: replication, KAFKA_MIN_INSYNC_REPLICAS: chosen } = config;
  if (chosen > replication) {
    throw new ConfigError(
      `KAFKA_MIN_INSYNC_REPLICAS=${chosen}: expected at most KAFKA_REPLICATION=${replication}, or nothing could be written`,
    );
  }
  const insync = chosen || Math.max(1, replication - 1);
  return [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC].map((topic) => ({
    topic,
    partitions: config.KAFKA_PARTITIONS,
    replication,
    managed: config.KAFKA_MANAGE_TOPICS,
    config: {
      "max.message.bytes": String(config.KAFKA_MAX_MESSAGE_BYTES),
      "retention.ms": String(config.KAFKA_RETENTION_HOURS * 3_600_000),
      "cleanup.policy": "delete",
      // Nobody who left both at their defaults has asked to lower what the topic has.
      ...(chosen || replication > 1 ? { "min.insync.replicas": String(insync) } : {}),
    },
  }));
}

/** What a writer of the topic has to keep to. */
export function limitsOf(state: TopicState): TopicLimits {
  const bytes = state.config?.get("max.message.bytes")?.value;
  return { partitions: state.partitions, maxMessageBytes: bytes === undefined ? undefined : Number(bytes) };
}

/** Whether services can work with a topic as it is. */
export interface TopicVerdict {
  /** Why not, and what to do. */
  refused?: string;
  /** What is worse than it could be. */
  warnings: string[];
}

/** Judges a topic that is there; services never change it. */
export function judgeTopic(wanted: TopicSettings, state: TopicState): TopicVerdict {
  const { topic } = wanted;
  const value = (name: string) => state.config?.get(name)?.value;
  const change = "`deno task topics` sets it";
  if (value("cleanup.policy")?.includes("compact")) {
    return {
      refused:
        `topic ${topic} has cleanup.policy=${
          value("cleanup.policy")
        }: Kafka would delete all but the newest ` +
        `message of each product. ${change} to delete; or choose another topic.`,
      warnings: [],
    };
  }
  const insync = Number(value("min.insync.replicas") ?? 1);
  if (insync > state.replication) {
    return {
      refused: `topic ${topic} has min.insync.replicas=${insync} and only ${copies(state.replication)}: ` +
        "no message could be written. Lower the one or raise the other.",
      warnings: [],
    };
  }
  const { maxMessageBytes } = limitsOf(state);
  if (maxMessageBytes === undefined) {
    return {
      warnings: [
        `topic ${topic}: this user may not read its settings (DESCRIBE_CONFIGS), so requests stay below ${unknownLimit} bytes`,
      ],
    };
  }
  if (maxMessageBytes < leastMessageBytes) {
    return {
      refused:
        `topic ${topic} has max.message.bytes=${maxMessageBytes}, and at least ${leastMessageBytes} are needed. ` +
        `${change} to KAFKA_MAX_MESSAGE_BYTES.`,
      warnings: [],
    };
  }
  const wish = Number(wanted.config["max.message.bytes"]);
  if (maxMessageBytes >= wish) return { warnings: [] };
  return {
    warnings: [
      `topic ${topic} has max.message.bytes=${maxMessageBytes}: larger frames become feed events. ${change} to ${wish}.`,
    ],
  };
}

/** Kafka's own default of `max.message.bytes`, less what a batch adds: kept to where the limit can't be read. */
export const unknownLimit = 1_000_000;

function copies(count: number): string {
  return count === 1 ? "1 copy" : `${count} copies`;
}

/** What was done to a topic, or would be, in words for a person. */
export interface TopicChange {
  topic: string;
  change: string;
}

/** A plan for a topic: what to say, and what to send. */
export interface TopicPlan {
  changes: TopicChange[];
  create: boolean;
  /** The number to raise the partitions to. */
  partitions?: number;
  /** All settings that the topic is to have of its own: AlterConfigs replaces them, so those that stay are among them. */
  config?: Record<string, string>;
}

/**
 * How to bring a topic to what is wanted. Partitions are never removed and copies never moved: Kafka can't, or not like
 * this.
 */
export function planTopic(wanted: TopicSettings, state: TopicState | undefined): TopicPlan {
  const { topic } = wanted;
  if (state === undefined) {
    const change = `created with ${wanted.partitions} partitions, ${copies(wanted.replication)} each`;
    return { create: true, changes: [{ topic, change }] };
  }
  const plan: TopicPlan = { create: false, changes: [] };
  const say = (change: string) => plan.changes.push({ topic, change });
  if (state.partitions < wanted.partitions) {
    say(`partitions ${state.partitions} → ${wanted.partitions}`);
    plan.partitions = wanted.partitions;
  }
  const have = state.config;
  if (have === undefined) return plan;
  const different = Object.entries(wanted.config).filter(([name, value]) => have.get(name)?.value !== value)
    .filter(([name, value]) => name !== "min.insync.replicas" || Number(value) <= state.replication);
  for (const [name, value] of different) say(`${name} ${have.get(name)?.value} → ${value}`);
  if (different.length > 0) {
    const own = [...have].filter(([, { own }]) => own).map(([name, { value }]) => [name, value]);
    plan.config = { ...Object.fromEntries(own), ...Object.fromEntries(different) };
  }
  return plan;
}
