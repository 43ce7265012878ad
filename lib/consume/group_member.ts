/**
 * A consumer as a member of its group: for how long it may be silent, and how it takes over from itself.
 *
 * A killed consumer stays a member until its session is over, and so long nobody reads its partitions. Who knows its own
 * name (KAFKA_MEMBER) needn't wait: at its start it lets the member of that name leave. Kafka's static membership
 * (`group.instance.id`), which kafkajs doesn't offer, would do the same.
 *
 * @module
 */

import type { ConsumerConfig, Kafka } from "kafkajs";
import { retry } from "../core/retry.ts";
import type { Config, Variable } from "../process/config.ts";
import type { Logger } from "../process/log.ts";

/** What the functions here read. */
export const memberVariables = [
  "KAFKA_GROUP",
  "KAFKA_MEMBER",
  "KAFKA_SESSION_MS",
] as const satisfies readonly Variable[];

type MemberConfig = Config<(typeof memberVariables)[number]>;

/** The client's name for `openBroker`: `consumer`, or `consumer-NAME` where it has a name of its own. */
export function memberName({ KAFKA_MEMBER: name }: Pick<MemberConfig, "KAFKA_MEMBER">): string {
  return name === "" ? "consumer" : `consumer-${name}`;
}

/**
 * How long a member may be silent, how often it speaks, and how long the others wait for it when the group is divided
 * anew. Several heartbeats fit into a session: one that is late or lost ends nothing.
 *
 * @param sessionMs KAFKA_SESSION_MS
 */
export function sessionOptions(
  sessionMs: number,
): Required<Pick<ConsumerConfig, "sessionTimeout" | "heartbeatInterval" | "rebalanceTimeout">> {
  return {
    sessionTimeout: sessionMs,
    heartbeatInterval: Math.min(2000, Math.floor(sessionMs / 5)),
    // Whoever is still writing a batch then is left out, and its batch is left to the others: rather that than all waiting.
    rebalanceTimeout: Math.max(10_000, sessionMs),
  };
}

/** A member of a group, as the coordinator describes it. */
interface Member {
  memberId: string;
  clientId: string;
}

/** The parts of kafkajs' cluster that its public API doesn't reach. */
interface Cluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  findGroupCoordinator(options: { groupId: string }): Promise<{
    describeGroups(options: { groupIds: string[] }): Promise<{ groups: { members: Member[] }[] }>;
    leaveGroup(options: { groupId: string; memberId: string }): Promise<unknown>;
  }>;
}

/**
 * Lets the members of the group leave that carry the client's name: what a consumer that was killed has left behind, or
 * one that sleeps. Its partitions are free at once. Who is let go while it lives can't commit any more, so it writes
 * nothing more either; it joins again as a new member.
 *
 * Without a name (KAFKA_MEMBER) nothing is done: members without one can't be told apart.
 *
 * @param kafka opened with `memberName`
 * @returns how many were let go
 * @throws what the broker answers; a caller may go on all the same, the session's end does it then
 */
export async function endPredecessor(
  kafka: Kafka,
  config: Pick<MemberConfig, "KAFKA_GROUP" | "KAFKA_MEMBER">,
): Promise<number> {
  if (config.KAFKA_MEMBER === "") return 0;
  const clientId = `tapehouse-${memberName(config)}`;
  const groupId = config.KAFKA_GROUP;
  const cluster = openCluster(kafka);
  await cluster.connect();
  try {
    const coordinator = await cluster.findGroupCoordinator({ groupId });
    const { groups } = await coordinator.describeGroups({ groupIds: [groupId] });
    const own = groups.flatMap(({ members }) => members).filter((member) => member.clientId === clientId);
    for (const { memberId } of own) {
      await coordinator.leaveGroup({ groupId, memberId }).catch((error) => {
        // Its session has ended meanwhile.
        if (error.type !== "UNKNOWN_MEMBER_ID") throw error;
      });
    }
    return own.length;
  } finally {
    await cluster.disconnect();
  }
}

/** As `endPredecessor`, for the start of a service: what it did is logged, and what keeps it from it stops nothing. */
export async function takeOver(
  kafka: Kafka,
  config: MemberConfig,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  const fields = { group: config.KAFKA_GROUP, member: config.KAFKA_MEMBER };
  try {
    // A broker that has just started reads its groups first. After a session there is nothing left to take over.
    const ended = await retry(() => endPredecessor(kafka, config), {
      signal: AbortSignal.any([signal, AbortSignal.timeout(config.KAFKA_SESSION_MS)]),
      maximumMs: 500,
      onError(error) {
        if (!(error instanceof Error && "retriable" in error && error.retriable)) throw error;
      },
    });
    if (ended > 0) log.info("took over from the member of the same name", { ...fields, members: ended });
  } catch (error) {
    log.warn("the member of the same name can't be let go, its partitions wait for the end of its session", {
      ...fields,
      session_ms: config.KAFKA_SESSION_MS,
      error,
    });
  }
}

/** kafkajs' own way to its connections: brokers, TLS and credentials are those of `kafka`. */
function openCluster(kafka: Kafka): Cluster {
  const create = Object.getOwnPropertySymbols(kafka).find(({ description }) =>
    description === "private:Kafka:createCluster"
  );
  if (create === undefined) throw new Error("this kafkajs has no createCluster");
  return (kafka as unknown as Record<symbol, (options: object) => Cluster>)[create]!({
    metadataMaxAge: 300_000,
  });
}
