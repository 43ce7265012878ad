/**
 * What the exchange made and what it sent, for those who want to prove that nothing was lost.
 *
 * @module
 */

import type { Frame, Source } from "./source.ts";

/** From the first to the last number, both included. */
export type Run = [first: number, last: number];

/** A product's trades since the exchange was started. */
export interface TradeLedger {
  /** The first trade that was made since the start, whether or not anyone listened … */
  first: number;
  /** … and the last one; `first - 1` when none was made yet. */
  last: number;
  /** The trades that were sent as `match` to at least one client, in the order of sending. */
  sent: Run[];
  /** Trades that a fault kept back for good. */
  withheld: number[];
  /** Trades that a fault made go out twice. */
  repeated: number[];
  /** Trades that a fault made go out after a later one. */
  late: number[];
}

/** What `GET /_exchange/ledger` returns. */
export interface LedgerReport {
  /** Frames by product (empty for those without one) and type, counted once for each client that got them. */
  sent: Record<string, Record<string, number>>;
  trades: Record<string, TradeLedger>;
}

/** The books of the exchange. */
export interface Ledger {
  report(): LedgerReport;
  /**
   * Every distinct market frame that went out, in the order of sending; a frame for several clients stands once.
   * Empty unless the exchange was started with `record`.
   */
  frames: readonly string[];
}

/** The ledger as the server writes it. */
export interface LedgerWriter extends Ledger {
  /** `frame` went to `clients` clients; `again` when it had gone out before. */
  sent(frame: Frame, clients: number, again: boolean): void;
  withheld(frame: Frame): void;
  repeated(frame: Frame): void;
  late(frame: Frame): void;
}

/** Opens a ledger at the source's present state. */
export function createLedger(source: Source, record: boolean): LedgerWriter {
  const counts = new Map<string, Map<string, number>>();
  const first = new Map(source.products.map(({ id }) => [id, source.lastTrade(id) + 1]));
  const notes = new Map(source.products.map(({ id }) => [id, {
    sent: [] as Run[],
    withheld: [] as number[],
    repeated: [] as number[],
    late: [] as number[],
  }]));
  const frames: string[] = [];

  function note(frame: Frame, as: "withheld" | "repeated" | "late") {
    notes.get(frame.product)?.[as].push(frame.tradeId);
  }

  return {
    frames,
    sent(frame, clients, again) {
      if (clients === 0) return;
      let byType = counts.get(frame.product);
      if (!byType) counts.set(frame.product, byType = new Map());
      byType.set(frame.type, (byType.get(frame.type) ?? 0) + clients);
      if (record && !again) frames.push(frame.text);
      if (frame.tradeId === 0 || again) return;
      const sent = notes.get(frame.product)?.sent;
      const run = sent?.at(-1);
      if (run && run[1] + 1 === frame.tradeId) run[1]++;
      else sent?.push([frame.tradeId, frame.tradeId]);
    },
    withheld: (frame) => note(frame, "withheld"),
    late: (frame) => note(frame, "late"),
    repeated: (frame) => note(frame, "repeated"),
    report: () => ({
      sent: Object.fromEntries([...counts].map(([product, byType]) => [product, Object.fromEntries(byType)])),
      trades: Object.fromEntries([...notes].map(([product, lists]) => [product, {
        first: first.get(product) ?? 0,
        last: source.lastTrade(product),
        ...lists,
      }])),
    }),
  };
}
