/**
 * How many messages of the topics the consumer group hasn't taken yet.
 *
 * @module
 */

import type { Admin, Kafka } from "kafkajs";
import { unlessAborted } from "../../core/retry.ts";
import { createSharedAnswer } from "../../core/shared_answer.ts";
import { messagesBehind, readLag } from "../../kafka/lag.ts";

/** What is known of Kafka now. */
export interface KafkaState {
  ok: boolean;
  /** Messages behind, over all partitions; null when it isn't known. */
  lag: number | null;
}

/** Knows the lag. */
export interface LagReader {
  /** What was found last, at once; asks again in the background when that is older than a second. */
  read(): KafkaState;
  /** What is there now, or a second ago; waits for a broker that doesn't answer only for so long. */
  current(): Promise<KafkaState>;
  close(): Promise<void>;
}

const freshMs = 1000;
/** A broker that hangs isn't fine because it was once. */
const staleMs = 10_000;
const waitMs = 2000;
const away: KafkaState = { ok: false, lag: null };

/** @param group tells the group that stores the topics' messages: it may change while the API runs */
export function createLagReader(
  kafka: Kafka,
  group: () => Promise<string>,
  topics: readonly string[],
): LagReader {
  let admin: Admin | undefined;
  let asking: Promise<KafkaState> | undefined;
  let closed = false;

  async function ask(): Promise<KafkaState> {
    try {
      if (admin === undefined) {
        const fresh = kafka.admin();
        await fresh.connect();
        admin = fresh;
      }
      const partitions = await readLag(admin, await group(), topics);
      return { ok: true, lag: partitions.reduce((sum, partition) => sum + messagesBehind(partition), 0) };
    } catch {
      await admin?.disconnect().catch(() => {});
      admin = undefined;
      return away;
    }
  }

  const state = createSharedAnswer(async () => closed ? away : await (asking = ask()), { freshMs, staleMs });
  return {
    read: () => state.known() ?? away,
    async current() {
      return await unlessAborted(state(undefined, freshMs), AbortSignal.timeout(waitMs))
        .catch(() => state.known() ?? away);
    },
    async close() {
      closed = true;
      await asking;
      await admin?.disconnect();
    },
  };
}
