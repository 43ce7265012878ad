/**
 * Lanes: places for queries by the kind of work that they are, so that one kind can't take those of another.
 *
 * @module
 */

import {
  createFairQueue,
  type FairQueue,
  ourselves,
  type RefusalReason,
  Refused,
} from "../core/fair_queue.ts";
import { Problem } from "./problem.ts";

/**
 * What kind of work a query is:
 * - `shared`: small, and its answer is kept for others;
 * - `interactive`: what a client asks for itself;
 * - `export`: up to a million rows.
 */
export type Lane = "shared" | "interactive" | "export";

/** On whose account a query runs. */
export interface Asker {
  /** See `clientNetwork`; `ourselves` for what serves everybody. */
  client: string;
  lane: Lane;
  /** The client has gone: its query is ended. */
  signal?: AbortSignal;
  /** Set when the first of its queries has its place. */
  started?: boolean;
}

/** What the service asks for all clients together. */
export const forEverybody: Asker = { client: ourselves, lane: "shared" };

/** What is told of places, for metrics. */
export interface QueryListener {
  onPlace?(lane: Lane, seconds: number): void;
  onRefused?(lane: Lane, reason: RefusalReason): void;
}

/** Downloads that are being read: over all clients, and of one. */
export const downloads = { places: 8, placesOfClient: 2, waiting: 0, waitingOfClient: 0 };

/** The lanes, and the places of downloads. */
export interface Lanes {
  queries: Record<Lane, FairQueue>;
  downloads: FairQueue;
}

/** @param queries how many of clients may run at once; one client has half of them */
export function createLanes(queries: number, { onPlace, onRefused }: QueryListener): Lanes {
  const half = Math.ceil(queries / 2);
  const third = Math.max(2, Math.floor(queries / 3));
  const lane = (name: Lane, places: number, placesOfClient: number) =>
    createFairQueue({
      places,
      placesOfClient,
      onPlace: (seconds) => onPlace?.(name, seconds),
      onRefused: (reason) => onRefused?.(name, reason),
    });
  return {
    queries: {
      shared: lane("shared", Math.max(3, half), Math.max(2, half - 1)),
      interactive: lane("interactive", queries, half),
      export: lane("export", third, Math.max(1, Math.floor(third / 2))),
    },
    downloads: createFairQueue({ ...downloads, onRefused: (reason) => onRefused?.("export", reason) }),
  };
}

/**
 * Waits for a place.
 *
 * @returns a function that releases the place
 * @throws {Problem} when there is none
 */
export async function takePlace(queue: FairQueue, client: string, signal?: AbortSignal): Promise<() => void> {
  try {
    return await queue.take(client, signal);
  } catch (error) {
    throw error instanceof Refused ? busy(error) : error;
  }
}

/** How much runs and waits in each lane. */
export function loadOf({ queries }: Lanes): Record<Lane, { running: number; waiting: number }> {
  const load = ({ running, waiting }: FairQueue) => ({ running, waiting });
  return {
    shared: load(queries.shared),
    interactive: load(queries.interactive),
    export: load(queries.export),
  };
}

/** Somebody asks for too much at once: this client, or all together. */
function busy({ reason, message }: Refused): Problem {
  return new Problem("too-many-requests", {
    detail: reason === "client_queue"
      ? `Too many queries at once: ${message}. Wait for an answer before you ask again.`
      : `Too many queries at once: ${message}. Ask again in a moment.`,
    headers: { "retry-after": reason === "client_queue" ? "1" : "3" },
  });
}

/** True when a request was refused on its client's account: another client's would have been answered. */
function isOfClient(error: unknown): boolean {
  return error instanceof Problem && error.kind === "too-many-requests";
}

/**
 * How one answer serves several: whoever comes waits with a query that has its place, but not in the line of another
 * client, and not for that one's refusal.
 */
export const shareQueries = {
  isPersonal: isOfClient,
  mayJoin: (running: Asker, asker: Asker) => running.started === true || running.client === asker.client,
};
