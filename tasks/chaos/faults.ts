/**
 * What can go wrong, one function a fault: each does it to a running tape and says what it did.
 *
 * @module
 */

import { sleep } from "../../lib/core/retry.ts";
import { ensureTopics } from "../../lib/kafka/topics.ts";
import { nowMicros } from "../../lib/core/time.ts";
import { setClock } from "./clock.ts";
import { damage, type HitTable, hitTables } from "./power_cut.ts";
import { consumers, type Member, members, withOwnClock } from "./members.ts";
import type { Tape } from "./chaos_tape.ts";
import { waitForAll, waitUntil } from "./waiting.ts";

/** What a fault works on. */
export interface World extends Tape {
  /** From 0 up to 1, the next one of the seed's. */
  random(): number;
  /** Table → its folder on disk. */
  folders: ReadonlyMap<HitTable, string>;
  /** `TABLE/PARTITION` → the newest block of which the topic doesn't have all messages any more. */
  spared: Map<string, number>;
}

/** What a fault did. */
export interface Done {
  /** How many processes were killed. */
  kills: number;
  /** In a few words, for people. */
  what: string;
}

/** The faults by name. */
export const faults = {
  kill: killOne,
  burst: killThree,
  power: cutPower,
  topic: makeTopicsAnew,
  retention: overtake,
  clock: moveClock,
} as const satisfies Record<string, (world: World) => Promise<Done>>;
export type FaultName = keyof typeof faults;
export const faultNames = Object.keys(faults) as FaultName[];

/** Of a hundred. */
export const shares: Record<FaultName, number> = {
  kill: 62,
  burst: 12,
  power: 10,
  topic: 4,
  retention: 7,
  clock: 5,
};

function pick<T>(world: World, from: readonly T[]): T {
  return from[Math.floor(world.random() * from.length)]!;
}

/** kill -9 of one process. */
async function killOne(world: World): Promise<Done> {
  const member = pick(world, members);
  await waitUntil(world, `${member} runs`, () => world.rig.kill(member));
  return { kills: 1, what: member };
}

/** Three kills within a second, of the same or of different processes: nothing recovers in between. */
async function killThree(world: World): Promise<Done> {
  const killed: Member[] = [];
  const only = world.random() < 0.3 ? pick(world, members) : undefined;
  const begun = performance.now();
  while (killed.length < 3) {
    const wanted = only ?? pick(world, members);
    // Who is down for the moment can't be killed: then it is somebody else's turn.
    const member = [wanted, ...members].find((one) => world.rig.kill(one));
    if (member !== undefined) killed.push(member);
    if (killed.length < 3) await sleep(100 + world.random() * 300, world.signal);
  }
  return { kills: 3, what: `${killed.join(", ")} within ${Math.round(performance.now() - begun)} ms` };
}

/** ClickHouse without power: what was written last is gone or torn, of some tables. */
async function cutPower(world: World): Promise<Done> {
  const { rig, folders, spared } = world;
  const chosen = new Map(hitTables.map((table) => [table, [world.random(), world.random()] as const]));
  await rig.hold("ClickHouse");
  try {
    const hits = await damage(folders, spared, (table) => {
      const [whether, how] = chosen.get(table)!;
      return whether < 0.5 ? undefined : how < 0.7 ? "removed" : "truncated";
    });
    const what = hits.map(({ table, parts, how }) =>
      `${how === "removed" ? "−" : "~"}${table} ${parts.length}`
    );
    return { kills: 1, what: `ClickHouse; parts ${what.join(", ") || "none"}` };
  } finally {
    rig.release("ClickHouse");
  }
}

/** Both topics deleted and created, while everything runs. */
async function makeTopicsAnew(world: World): Promise<Done> {
  const { withAdmin, topics, witness } = world;
  const names = topics.map(({ topic }) => topic);
  await waitForAll(world);
  await witness.look();
  await witness.logEnds(nowMicros());
  await withAdmin(async (admin) => {
    const existing = (await admin.listTopics()).filter((topic) => names.includes(topic));
    if (existing.length > 0) await admin.deleteTopics({ topics: existing });
  });
  await sleep(world.random() * 2000, world.signal);
  await withAdmin((admin) => ensureTopics(admin, topics));
  await spare(world);
  return { kills: 0, what: `${names.join(" and ")} made anew` };
}

/** The head of the topics goes while the consumers are stopped or down: beyond what they have read. */
async function overtake(world: World): Promise<Done> {
  const { rig, withAdmin, group, topics, witness } = world;
  const areDown = world.random() < 0.5;
  await waitForAll(world);
  if (areDown) await Promise.all(consumers.map(rig.hold));
  else for (const consumer of consumers) rig.signal(consumer, "SIGSTOP");
  let lost = 0;
  try {
    await sleep(1500 + world.random() * 3000, world.signal);
    await witness.look();
    const part = 0.3 + world.random() * 0.7;
    await withAdmin(async (admin) => {
      for (const { topic } of topics) {
        const [committed] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
        const partitions = (await admin.fetchTopicOffsets(topic)).flatMap(({ partition, low, high }) => {
          const place = Number(
            committed?.partitions.find((one) => one.partition === partition)?.offset ?? -1,
          );
          const offset = Math.floor(place + (Number(high) - place) * part);
          if (place < 0 || offset <= Math.max(place, Number(low))) return [];
          lost += offset - Math.max(place, Number(low));
          return [{ partition, offset: String(offset) }];
        });
        if (partitions.length > 0) await admin.deleteTopicRecords({ topic, partitions });
      }
    });
  } finally {
    if (areDown) { for (const consumer of consumers) rig.release(consumer); }
    else for (const consumer of consumers) rig.signal(consumer, "SIGCONT");
  }
  await spare(world);
  return {
    kills: areDown ? 2 : 0,
    what: `${lost} unread messages gone, consumers ${areDown ? "down" : "stopped"}`,
  };
}

/** What is stored so far can't be read again from the topics: no power cut may take it. */
async function spare(world: World): Promise<void> {
  await waitForAll(world);
  const rows = await world.query(
    `SELECT table, partition_id, toString(max(max_block_number)) AS block FROM system.parts
     WHERE database = currentDatabase() GROUP BY table, partition_id`,
  );
  for (const { table, partition_id, block } of rows) {
    world.spared.set(`${table}/${partition_id}`, Number(block));
  }
}

/** One service's clock an hour ahead, then an hour behind, then right again. */
async function moveClock(world: World): Promise<Done> {
  const member = pick(world, withOwnClock);
  const hours = world.random() < 0.5 ? [1, -1] : [-1, 1];
  try {
    for (const hour of hours) {
      await setClock(world.home, member, hour);
      await sleep(2000 + world.random() * 2000, world.signal);
    }
  } finally {
    await setClock(world.home, member, 0);
  }
  return {
    kills: 0,
    what: `${member}'s by ${hours.map((hour) => `${hour > 0 ? "+" : "−"}1 h`).join(", then ")}`,
  };
}
