/**
 * Faults on demand: what an exchange can do wrong, at the moment when a test wants it.
 *
 * @module
 */

import { z } from "zod";
import type { LedgerWriter } from "./ledger.ts";
import type { Frame } from "./source.ts";

const seconds = z.number().min(0).max(86_400);
const count = z.number().int().min(1).max(1_000_000);
const tradeId = z.number().int().min(1);

/** The body of `POST /_exchange/faults`: one or more of these. */
export const faultSchema = z.strictObject({
  /** Closes all connections now. */
  drop: z.literal(true).optional(),
  /** Closes all connections every so many seconds; 0 stops that. */
  dropEverySeconds: seconds.optional(),
  /** Sends nothing for so long; the sockets stay open, what would have been sent is lost. */
  silenceSeconds: seconds.optional(),
  /** Answers 503 to new connections for so long. */
  refuseSeconds: seconds.optional(),
  /** The next trades are made but their matches never sent. */
  swallowTrades: count.optional(),
  /** The matches of the next trades are sent twice. */
  repeatTrades: count.optional(),
  /** The matches of the next trades are held back, and sent in reverse order after that of the trade after them. */
  lateTrades: count.optional(),
  /** The next heartbeats aren't sent. */
  swallowHeartbeats: count.optional(),
  /** Sends this text to every client, whatever it is. */
  raw: z.string().optional(),
  /** Acknowledges subscriptions so much later; 0 stops that. */
  ackDelaySeconds: seconds.optional(),
  /** Refuses this product from now on: "… is not a valid product". */
  refuseProduct: z.string().optional(),
  /**
   * The next REST requests are answered with an error status, never (`hang`), or, if they ask for trades, with the
   * newest page whatever page they ask for (`wrong page`).
   */
  rest: z.strictObject({
    answer: z.union([z.literal(429), z.literal(500), z.literal("hang"), z.literal("wrong page")]),
    requests: count,
  }).optional(),
  /** From now on REST leaves out these trades, from the first id to the last; the feed sends them. */
  unserved: z.tuple([tradeId, tradeId]).optional(),
});

/** One or more faults; see `faultSchema`. */
export type Fault = z.infer<typeof faultSchema>;

/** What the next REST request meets. */
export type RestFault = NonNullable<Fault["rest"]>["answer"];

/** What only the server can do. */
export interface Effects {
  drop(): void;
  sendRaw(text: string): void;
}

/** The faults of an exchange. */
export interface Faults {
  /** @throws {RangeError} naming what is wrong with the fault */
  inject(fault: unknown): void;
}

/** The faults as the server asks for them. */
export interface FaultState extends Faults {
  silent(): boolean;
  refusing(): boolean;
  ackDelayMs(): number;
  refusedProducts: ReadonlySet<string>;
  /** The fault of this REST request, which is thereby used up. */
  nextRest(): RestFault | undefined;
  /** Whether REST has this trade. */
  serves(tradeId: number): boolean;
  /** The frames to send in place of `frame`: it, nothing, it twice, or it and those held back. */
  pass(frame: Frame): Frame[];
  stop(): void;
}

/** No faults yet. */
export function createFaults(ledger: LedgerWriter, effects: Effects): FaultState {
  const refusedProducts = new Set<string>();
  let silentUntil = 0;
  let refuseUntil = 0;
  let ackDelay = 0;
  let dropTimer: ReturnType<typeof setInterval> | undefined;
  const left = { swallow: 0, repeat: 0, late: 0, heartbeats: 0 };
  let held: Frame[] = [];
  let rest: Fault["rest"];
  const unserved: [number, number][] = [];

  return {
    refusedProducts,
    inject(input) {
      const parsed = faultSchema.safeParse(input);
      if (!parsed.success) {
        const issue = parsed.error.issues[0];
        const known = Object.keys(faultSchema.shape).join(", ");
        throw new RangeError(
          `${["fault", ...(issue?.path ?? [])].join(".")}: ${issue?.message}; there are ${known}`,
        );
      }
      const fault = parsed.data;
      const now = performance.now();
      if (fault.refuseSeconds !== undefined) refuseUntil = now + fault.refuseSeconds * 1000;
      if (fault.silenceSeconds !== undefined) silentUntil = now + fault.silenceSeconds * 1000;
      if (fault.ackDelaySeconds !== undefined) ackDelay = fault.ackDelaySeconds * 1000;
      if (fault.refuseProduct !== undefined) refusedProducts.add(fault.refuseProduct);
      if (fault.rest) rest = { ...fault.rest };
      if (fault.unserved) unserved.push(fault.unserved);
      left.swallow += fault.swallowTrades ?? 0;
      left.repeat += fault.repeatTrades ?? 0;
      left.late += fault.lateTrades ?? 0;
      left.heartbeats += fault.swallowHeartbeats ?? 0;
      if (fault.dropEverySeconds !== undefined) {
        clearInterval(dropTimer);
        if (fault.dropEverySeconds > 0) {
          dropTimer = setInterval(effects.drop, fault.dropEverySeconds * 1000);
        }
      }
      if (fault.raw !== undefined) effects.sendRaw(fault.raw);
      if (fault.drop) effects.drop();
    },
    silent: () => performance.now() < silentUntil,
    refusing: () => performance.now() < refuseUntil,
    ackDelayMs: () => ackDelay,
    nextRest() {
      if (!rest || rest.requests === 0) return undefined;
      rest.requests--;
      return rest.answer;
    },
    serves: (tradeId) => !unserved.some(([first, last]) => first <= tradeId && tradeId <= last),
    pass(frame) {
      if (frame.type === "heartbeat" && left.heartbeats > 0) {
        left.heartbeats--;
        return [];
      }
      if (frame.tradeId === 0) return [frame];
      if (left.swallow > 0) {
        left.swallow--;
        ledger.withheld(frame);
        return [];
      }
      if (left.late > 0) {
        left.late--;
        ledger.late(frame);
        held.push(frame);
        return [];
      }
      const late = held.reverse();
      held = [];
      if (left.repeat > 0) {
        left.repeat--;
        ledger.repeated(frame);
        return [frame, frame, ...late];
      }
      return [frame, ...late];
    },
    stop: () => clearInterval(dropTimer),
  };
}
