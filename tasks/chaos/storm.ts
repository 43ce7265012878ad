/**
 * A storm: faults at random moments, one after the other, until enough processes were killed. Which fault, when and where
 * is the seed's.
 *
 * @module
 */

import { fraction, keyOf } from "../../exchange/hash.ts";
import { sleep } from "../../lib/core/retry.ts";
import { bar } from "../../lib/process/progress.ts";
import type { Display } from "./display.ts";
import { type FaultName, faults, shares, type World } from "./faults.ts";
import { readTableFolders } from "./power_cut.ts";
import { type Event, header, line } from "./report.ts";
import type { Tape } from "./chaos_tape.ts";
import { waitForNewTrades } from "./waiting.ts";

/** What is done to a tape. */
export interface StormOptions {
  /** It ends when so many processes were killed, and each fault was there once. */
  kills: number;
  /** Those to choose from. */
  faults: readonly FaultName[];
  /** Another seed: other faults, other moments. */
  seed: string;
  /** Seconds since the run began. */
  seconds: () => number;
}

/** Does it; each fault is a row of the display. The last one is recovered from. */
export async function storm(tape: Tape, options: StormOptions, display: Display): Promise<Event[]> {
  const { kills: wanted, faults: chosen, seed, seconds } = options;
  const random = createRandom(seed);
  const world: World = {
    ...tape,
    random,
    folders: await readTableFolders(tape.query),
    spared: new Map(),
  };
  const events: Event[] = [];
  display.row(header);
  // Each fault once before chance decides.
  const first = shuffled(chosen, random);
  for (let kills = 0; kills < wanted || first.length > 0;) {
    // Up to three seconds between two faults: in the middle of batches, fills and recoveries.
    await sleep(random() * 3000, tape.signal);
    const number = events.length + 1;
    const fault = first.shift() ?? drawFault(chosen, random());
    const isWaitedFor = random() >= 0.25;
    const at = seconds();
    const done = await faults[fault](world);
    const event: Event = { number, fault, at, ...done };
    kills += done.kills;
    const isLast = kills >= wanted && first.length === 0;
    if (isWaitedFor || isLast) event.recovered = await secondsToRecover(tape);
    events.push(event);
    display.row(line(event), `${bar(Math.min(1, kills / wanted))} ${kills} of ${wanted} kills`);
  }
  display.clear();
  return events;
}

async function secondsToRecover(tape: Tape): Promise<number> {
  const since = performance.now();
  await waitForNewTrades(tape);
  return (performance.now() - since) / 1000;
}

/** Numbers from 0 up to 1, for one seed always the same. */
function createRandom(seed: string): () => number {
  const key = keyOf(seed, "chaos");
  let drawn = 0;
  return () => fraction(key, drawn++);
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items.map((item) => ({ item, order: random() })).toSorted((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

/**
 * A fault by its share of all that are chosen.
 *
 * @param at from 0 up to 1
 */
export function drawFault(chosen: readonly FaultName[], at: number): FaultName {
  let left = at * chosen.reduce((sum, fault) => sum + shares[fault], 0);
  return chosen.find((fault) => (left -= shares[fault]) < 0) ?? chosen[0]!;
}
