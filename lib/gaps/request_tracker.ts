/**
 * Which missing trades are to be asked for, the rules: when again, how often, when no more. A proof that REST doesn't have
 * a trade is kept in ClickHouse and survives restarts; everything else is forgotten with the process. Nothing here talks to
 * a server.
 *
 * @module
 */

import { intersect, type Run, subtract } from "../core/id_ranges.ts";

/** So many proofs, and a trade is shown as given up. It is asked for all the same. */
export const proofsToGiveUp = 4;

const minute = 60_000;
const day = 24 * 60 * minute;
/** Each wait is so many times the one before. */
const growth = 4;
const longestWaitMs = day;
const longestDoubtMs = 15 * minute;
/** REST isn't asked any more so long after the first proof. */
const askForMs = 30 * day;

/** Ids of which REST proved so often that it doesn't have them. Times are ms since the epoch. */
export interface Proven {
  ids: Run[];
  proofs: number;
  firstAskedAt: number;
  askedAt: number;
}

/**
 * When to ask again for what REST proved not to have; undefined when never: 15 s after the first proof, then 1, 4, 16, 64
 * minutes, 4, 17 hours, then once a day until 30 days are over (`againMs` = 15,000).
 */
export function nextAsk(
  { proofs, firstAskedAt, askedAt }: Omit<Proven, "ids">,
  againMs: number,
): number | undefined {
  const at = askedAt + waitMs(proofs, againMs, longestWaitMs);
  return at <= firstAskedAt + askForMs ? at : undefined;
}

function waitMs(asks: number, againMs: number, longestMs: number): number {
  return Math.min(longestMs, againMs * growth ** (asks - 1));
}

/**
 * One history out of what was recorded at different times, when ranges were whole that are in pieces now: of each id the
 * row with the most proofs counts.
 */
export function overlay(records: readonly Proven[]): Proven[] {
  const covered: Run[] = [];
  const history: Proven[] = [];
  for (const record of records.toSorted((left, right) => right.proofs - left.proofs)) {
    const ids = subtract(record.ids, covered);
    if (ids.length === 0) continue;
    history.push({ ...record, ids });
    covered.push(...ids);
  }
  return history;
}

/** What one round of requests brought to light. The three don't overlap. */
export interface Answered {
  served: readonly Run[];
  absent: readonly Run[];
  unproven: readonly Run[];
}

/** What became of the ids of one product that were asked for. */
export interface RequestTracker {
  /** Takes note of a round at `now`, ms since the epoch. Returns the new proofs, to be recorded. */
  answered(round: Answered, now: number): Proven[];
  /** Which of the missing ids are to be asked for now; what isn't missing any more is forgotten. */
  due(missing: readonly Run[], now: number): Run[];
  /** Ids that REST had, and that are on their way into ClickHouse, as of the last `due`. */
  onTheWay(): Run[];
  /** Ids that REST proved not to have, and that are not to be asked for yet. */
  absent(now: number): Run[];
  /** Ids that REST proved so often not to have that they are given up. */
  givenUp(): Run[];
}

/** How a tracker waits. */
export interface TrackerOptions {
  /** The first wait, BACKFILL_AGAIN_SECONDS in ms; each is four times the one before. */
  againMs: number;
  /** Ids that were produced and are still missing are asked for again after so many ms. */
  arrivalMs: number;
  /** What was recorded by earlier processes. */
  history?: readonly Proven[];
}

/** Starts with the recorded history. */
export function createRequestTracker({ againMs, arrivalMs, history = [] }: TrackerOptions): RequestTracker {
  let proven = overlay(history);
  let produced: { ids: Run[]; at: number }[] = [];
  let doubted: { ids: Run[]; attempts: number; at: number }[] = [];

  /** The groups' ids cut down to `within`; empty groups are gone. */
  function keep<G extends { ids: Run[] }>(groups: readonly G[], within: (ids: Run[]) => Run[]): G[] {
    return groups.map((group) => ({ ...group, ids: within(group.ids) })).filter(({ ids }) => ids.length > 0);
  }
  /** The groups' ids that are among `ids`, those that are in no group with `fresh`. */
  function regroup<G extends { ids: Run[] }>(
    groups: readonly G[],
    ids: readonly Run[],
    fresh: Omit<G, "ids">,
  ): G[] {
    const known = keep(groups, (own) => intersect(own, ids));
    const others = subtract(ids, known.flatMap((group) => group.ids));
    return [...known, ...others.length > 0 ? [{ ...fresh, ids: others } as G] : []];
  }
  /** What lies in the future was noted by a clock that was wrong: it holds nothing up. */
  const isWaiting = (now: number, at: number, until: number) => at <= now && now < until;
  const isAbsent = (now: number) => (group: Proven) =>
    isWaiting(now, group.askedAt, nextAsk(group, againMs) ?? Infinity);
  const idsOf = (groups: readonly { ids: Run[] }[]) => groups.flatMap(({ ids }) => ids);

  return {
    answered({ served, absent, unproven }, now) {
      const proofs = regroup(proven, absent, { proofs: 0, firstAskedAt: now, askedAt: now }).map((group) => ({
        ...group,
        proofs: group.proofs + 1,
        askedAt: now,
      }));
      proven = [...keep(proven, (ids) => subtract(ids, absent)), ...proofs];
      const doubts = regroup(doubted, unproven, { attempts: 0, at: now }).map(({ ids, attempts }) => ({
        ids,
        attempts: attempts + 1,
        at: now,
      }));
      doubted = [...keep(doubted, (ids) => subtract(ids, [...unproven, ...absent, ...served])), ...doubts];
      if (served.length > 0) produced.push({ ids: [...served], at: now });
      return proofs;
    },
    due(missing, now) {
      const stillMissing = (ids: Run[]) => intersect(ids, missing);
      proven = keep(proven, stillMissing);
      doubted = keep(doubted, stillMissing);
      produced = keep(produced.filter(({ at }) => isWaiting(now, at, at + arrivalMs)), stillMissing);
      const waiting = [
        ...produced,
        ...doubted.filter(({ attempts, at }) =>
          isWaiting(now, at, at + waitMs(attempts, againMs, longestDoubtMs))
        ),
        ...proven.filter(isAbsent(now)),
      ];
      return subtract(missing, idsOf(waiting));
    },
    onTheWay: () => subtract(idsOf(produced), []),
    givenUp: () => subtract(idsOf(proven.filter(({ proofs }) => proofs >= proofsToGiveUp)), []),
    absent: (now) => subtract(idsOf(proven.filter(isAbsent(now))), []),
  };
}
