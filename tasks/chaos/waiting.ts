/**
 * Waiting for a tape under chaos: until it takes new trades again, until all that is in the topics is stored.
 *
 * @module
 */

import { FatalError } from "../../lib/core/errors.ts";
import { sleep } from "../../lib/core/retry.ts";
import { completeWithinMs, products, type Tape } from "./chaos_tape.ts";

/** What can be waited for. An error of a server, which may be down, is a no. */
type Probe = () => boolean | Promise<boolean>;

/**
 * Polls until it is so.
 *
 * @returns false when it isn't within three minutes
 * @throws {FatalError} when a process has ended by itself, or the signal's reason
 */
async function isSoInTime({ rig, signal }: Tape, probe: Probe): Promise<boolean> {
  const deadline = performance.now() + completeWithinMs;
  while (performance.now() < deadline) {
    signal.throwIfAborted();
    if (rig.died.length > 0) throw new FatalError(`${rig.died[0]}; nobody had asked for that.`);
    if (await Promise.resolve().then(probe).catch(() => false)) return true;
    await sleep(100, signal);
  }
  return false;
}

/**
 * Polls until it is so.
 *
 * @throws {FatalError} when it isn't within three minutes or a process has ended by itself, or the signal's reason
 */
export async function waitUntil(tape: Tape, what: string, probe: Probe): Promise<void> {
  if (!await isSoInTime(tape, probe)) {
    throw new FatalError(`Waited ${completeWithinMs / 1000} s, and never was it so: ${what}.`);
  }
}

/** Until a trade that was made from now on is stored, of every product. */
export function waitForNewTrades(tape: Tape): Promise<void> {
  const marks = new Map(products.map((product) => [product, tape.market.lastTrade(product)]));
  return waitUntil(tape, "a new trade of every product is stored", async () => {
    const stored = await readNewest(tape);
    return [...marks].every(([product, mark]) => (stored.get(product) ?? 0) > mark);
  });
}

/** Until the group has committed all that is in the topics now. */
export async function waitForEndOfTopics(tape: Tape): Promise<void> {
  const { withAdmin, group } = tape;
  const names = tape.topics.map(({ topic }) => topic);
  const ends = await withAdmin((admin) => Promise.all(names.map((topic) => admin.fetchTopicOffsets(topic))));
  await waitUntil(tape, "all that is in the topics is committed", async () => {
    const answers = await withAdmin((admin) => admin.fetchOffsets({ groupId: group, topics: names }));
    return names.every((topic, index) =>
      ends[index]!.every(({ partition, low, high }) => {
        const places = answers.find((answer) => answer.topic === topic)?.partitions ?? [];
        return low === high ||
          Number(places.find((place) => place.partition === partition)?.offset) >= Number(high);
      })
    );
  });
}

/**
 * Until all that is in the topics now is stored, and what was lost with ClickHouse's disk is stored again. Twice: whatever
 * a started ClickHouse has lost is looked for after the first batch that it takes.
 */
export async function waitForAll(tape: Tape): Promise<void> {
  await waitForNewTrades(tape);
  await waitForEndOfTopics(tape);
  await waitForNewTrades(tape);
  await waitForEndOfTopics(tape);
}

/** False when the market stands still and not every trade of it is stored within three minutes. */
export function isComplete(tape: Tape): Promise<boolean> {
  return isSoInTime(tape, async () => {
    const stored = await readNewest(tape);
    const [gaps] = await tape.query("SELECT toString(count()) AS gaps FROM trade_gaps");
    return gaps?.gaps === "0" &&
      products.every((product) => stored.get(product) === tape.market.lastTrade(product));
  });
}

/** The newest trade of each product that is stored. */
async function readNewest({ query }: Tape): Promise<Map<string, number>> {
  const rows = await query(
    "SELECT product_id, max(last_trade_id) AS last FROM trade_runs GROUP BY product_id",
  );
  return new Map(rows.map((row) => [row.product_id ?? "", Number(row.last)]));
}
