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

/** What a REST request can meet. */
const restAnswers = [
  ...[404, 429, 500] as const,
  ...["hang", "html", "error object", "cut off", "redirect"] as const,
  ...["wrong page", "empty", "reversed", "renamed field", "other product"] as const,
];

/** The body of `POST /_exchange/faults`: one or more of these. */
const faultSchema = z.strictObject({
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
  assertProduct: z.string().optional(),
  /**
   * The next REST requests, or those about one product, are answered with an error status, never (`hang`), as by a proxy
   * or an exchange that has changed (`html`, `error object`, `cut off`, `redirect`), or, if they ask for trades, with the
   * newest page whatever page they ask for (`wrong page`), with none (`empty`), the oldest first (`reversed`), with
   * `price` by another name (`renamed field`), or with another product's trades under the ids asked for (`other product`).
   */
  rest: z.strictObject({ answer: z.literal(restAnswers), requests: count, product: z.string().optional() })
    .optional(),
  /** From now on REST doesn't know so many of the newest trades, as behind a cache; 0 stops that. */
  restLagTrades: z.number().int().min(0).max(1_000_000).optional(),
  /** From now on REST leaves out these trades, from the first id to the last; the feed sends them. */
  unserved: z.tuple([tradeId, tradeId]).optional(),
  /** From now on REST has all trades again. */
  servesAll: z.literal(true).optional(),
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
  /** The fault of a REST request for this path, which is thereby used up. */
  nextRest(path: string): RestFault | undefined;
  /** How many of the newest trades REST doesn't know. */
  restLag(): number;
  /** Whether REST has this trade. */
  serves(tradeId: number): boolean;
  /** The frames to send in place of `frame`: it, nothing, it twice, or it and those held back. */
  pass(frame: Frame): Frame[];
  stop(): void;
}

/** No faults yet. What is asked for takes effect in the same call, dropping and raw text last. */
export function createFaults(ledger: LedgerWriter, effects: Effects): FaultState {
  const connections = createConnectionFaults(effects.drop);
  const frames = createFrameFaults(ledger);
  const rest = createRestFaults();
  return {
    ...connections.state,
    ...frames.state,
    ...rest.state,
    inject(input) {
      const fault = parseFault(input);
      connections.add(fault);
      frames.add(fault);
      rest.add(fault);
      if (fault.raw !== undefined) effects.sendRaw(fault.raw);
      if (fault.drop) effects.drop();
    },
  };
}

function parseFault(input: unknown): Fault {
  const parsed = faultSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const known = Object.keys(faultSchema.shape).join(", ");
  throw new RangeError(
    `${["fault", ...(issue?.path ?? [])].join(".")}: ${issue?.message}; there are ${known}`,
  );
}

/** One kind of fault: how it is asked for, and what of the faults' state it answers. */
interface Part<Name extends keyof FaultState> {
  add(fault: Fault): void;
  state: Pick<FaultState, Name>;
}

/** Silence, refusals, late acknowledgements, and connections dropped again and again. */
function createConnectionFaults(
  drop: () => void,
): Part<"silent" | "refusing" | "ackDelayMs" | "refusedProducts" | "stop"> {
  const refusedProducts = new Set<string>();
  let silentUntil = 0;
  let refuseUntil = 0;
  let ackDelay = 0;
  let dropTimer: ReturnType<typeof setInterval> | undefined;
  return {
    add(fault) {
      const now = performance.now();
      if (fault.refuseSeconds !== undefined) refuseUntil = now + fault.refuseSeconds * 1000;
      if (fault.silenceSeconds !== undefined) silentUntil = now + fault.silenceSeconds * 1000;
      if (fault.ackDelaySeconds !== undefined) ackDelay = fault.ackDelaySeconds * 1000;
      if (fault.assertProduct !== undefined) refusedProducts.add(fault.assertProduct);
      if (fault.dropEverySeconds === undefined) return;
      clearInterval(dropTimer);
      if (fault.dropEverySeconds > 0) dropTimer = setInterval(drop, fault.dropEverySeconds * 1000);
    },
    state: {
      refusedProducts,
      silent: () => performance.now() < silentUntil,
      refusing: () => performance.now() < refuseUntil,
      ackDelayMs: () => ackDelay,
      stop: () => clearInterval(dropTimer),
    },
  };
}

/** Matches and heartbeats that are swallowed, repeated or late. */
function createFrameFaults(ledger: LedgerWriter): Part<"pass"> {
  /** Frames that are still to be met by each fault. */
  const left = { swallow: 0, repeat: 0, late: 0, heartbeats: 0 };
  let held: Frame[] = [];

  function passMatch(frame: Frame): Frame[] {
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
  }

  return {
    add(fault) {
      left.swallow += fault.swallowTrades ?? 0;
      left.repeat += fault.repeatTrades ?? 0;
      left.late += fault.lateTrades ?? 0;
      left.heartbeats += fault.swallowHeartbeats ?? 0;
    },
    state: {
      pass(frame) {
        if (frame.type === "heartbeat" && left.heartbeats > 0) {
          left.heartbeats--;
          return [];
        }
        return frame.tradeId === 0 ? [frame] : passMatch(frame);
      },
    },
  };
}

/** Wrong answers to REST requests, and trades that REST doesn't have. */
function createRestFaults(): Part<"nextRest" | "restLag" | "serves"> {
  let rest: Fault["rest"];
  let restLag = 0;
  let unserved: [number, number][] = [];
  return {
    add(fault) {
      if (fault.rest) rest = { ...fault.rest };
      if (fault.restLagTrades !== undefined) restLag = fault.restLagTrades;
      if (fault.servesAll) unserved = [];
      if (fault.unserved) unserved.push(fault.unserved);
    },
    state: {
      nextRest(path) {
        if (!rest || rest.requests === 0) return undefined;
        if (rest.product !== undefined && !path.startsWith(`/products/${rest.product}/`)) return undefined;
        rest.requests--;
        return rest.answer;
      },
      restLag: () => restLag,
      serves: (tradeId) => !unserved.some(([first, last]) => first <= tradeId && tradeId <= last),
    },
  };
}
