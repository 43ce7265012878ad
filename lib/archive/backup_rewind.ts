/**
 * Points a consumer's group to the moment of a backup that was restored, so that the tape goes on from there.
 *
 * @module
 */

import type { Kafka } from "kafkajs";
import {
  hashMessages,
  type Moment,
  type MomentConfig,
  type PartitionState,
  readStates,
  type TopicCut,
  withAdmin,
} from "./backup_moment.ts";
import { FatalError } from "../core/errors.ts";

/** What `planRewind` decides of a partition. */
export type Rewind =
  | { offset: number; lost: number }
  | { refused: string };

/**
 * Where a group has to stand to go on behind a backup, given what the topic holds now.
 *
 * @param cut the first offset that isn't part of the backup
 * @param same whether the topic's message before the cut is the one of the backup; undefined where that can't be told
 * @returns `lost`: messages that the backup doesn't hold and the topic doesn't hold any more
 */
export function planRewind(
  cut: number,
  { low, high }: Pick<PartitionState, "low" | "high">,
  same: boolean | undefined,
): Rewind {
  if (cut > high) return { refused: `it ends at ${high}, before the backup's ${cut}` };
  if (same === false) return { refused: `its message before ${cut} isn't the one of the backup` };
  // Also where the topic begins later: a consumer that finds its place expired writes down what is lost.
  return { offset: cut, lost: Math.max(0, low - cut) };
}

/**
 * Points KAFKA_GROUP to a backup's moment, so that a consumer that is started on the restored database goes on there.
 *
 * @param options.dryRun only see whether it can be done
 * @returns a line for each topic; what is lost is said
 * @throws {FatalError} when the group has members, or a topic isn't the one that was backed up: nothing is changed then
 */
export async function rewindGroup(
  moment: Moment,
  config: MomentConfig,
  options: { dryRun?: boolean } = {},
): Promise<string[]> {
  const group = config.KAFKA_GROUP;
  return await withAdmin(config, async (admin, kafka) => {
    const { groups: [described] } = await admin.describeGroups([group]);
    if ((described?.members.length ?? 0) > 0) {
      throw new FatalError(
        `Group ${group} (KAFKA_GROUP) has ${
          described!.members.length
        } members: stop consumer.ts, then run this again.`,
      );
    }
    const cuts = [moment.market, moment.level2].filter(({ offsets }) => offsets.length > 0);
    const states = await readStates(admin, group, cuts.map(({ topic }) => topic));
    const plans: TopicPlan[] = [];
    for (const cut of cuts) plans.push(await planTopic(kafka, cut, states.get(cut.topic) ?? []));
    for (const { topic, offsets } of options.dryRun ? [] : plans) {
      await admin.setOffsets({
        groupId: group,
        topic,
        partitions: offsets.map((offset, partition) => ({ partition, offset: String(offset) })),
      });
    }
    return plans.map(({ topic, offsets, lost }) => {
      const lostText = lost === 0
        ? ""
        : `; ${lost} messages between the backup and the topic's beginning are gone: backfill fills their trades, ` +
          "the rest is lost";
      return `group ${group}: ${topic} goes on at ${offsets.join(", ")}${lostText}`;
    });
  });
}

interface TopicPlan {
  topic: string;
  /** By partition. */
  offsets: number[];
  /** Messages that neither the backup nor the topic holds. */
  lost: number;
}

/** @throws {FatalError} when it isn't the topic that was backed up */
async function planTopic(
  kafka: Kafka,
  { topic, offsets, last }: TopicCut,
  now: readonly PartitionState[],
): Promise<TopicPlan> {
  const anew =
    "it isn't the topic that was backed up, but another or one that was made anew. Let the group begin with " +
    "its oldest message (a group without commits does); backfill fills the trades in between";
  if (now.length < offsets.length) {
    throw new FatalError(`${topic} has ${now.length} partitions, the backup ${offsets.length}: ${anew}.`);
  }
  const found = await hashMessages(
    kafka,
    topic,
    offsets.map((cut, partition) => {
      const { low, high } = now[partition]!;
      return {
        partition,
        offset: last[partition] && cut - 1 >= low && cut <= high ? cut - 1 : undefined,
      };
    }),
  );
  // Partitions that were added since begin with their first message.
  const targets = now.map((state, partition): Rewind => {
    const known = last[partition];
    const there = found[partition] ?? null;
    const same = known && (offsets[partition] ?? 0) > state.low ? there === known : undefined;
    return planRewind(offsets[partition] ?? state.low, state, same);
  });
  const refused = targets.findIndex((target) => "refused" in target);
  if (refused >= 0) {
    const { refused: why } = targets[refused] as { refused: string };
    throw new FatalError(`${topic}, partition ${refused}: ${why}: ${anew}.`);
  }
  const right = targets as { offset: number; lost: number }[];
  return {
    topic,
    offsets: right.map(({ offset }) => offset),
    lost: right.reduce((sum, { lost }) => sum + lost, 0),
  };
}
