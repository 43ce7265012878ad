/**
 * Filling gaps as a service: looks again and again, each product by itself, so that none waits for another's trouble.
 *
 * @module
 */

import { Gauge, type Registry } from "prom-client";
import { backoffMs, sleep } from "../core/retry.ts";
import { costOf, fillCommand, type Missing } from "./fill_plan.ts";
import { RestError, type RestFailure } from "../feed/coinbase_rest.ts";
import type { TradeMark } from "./evidence.ts";
import type { GapFiller } from "./fill.ts";
import type { Logger } from "../process/log.ts";
import { nowMicros } from "../core/time.ts";
import type { Gap } from "./trade_gaps.ts";
import { countIds, intersect, type Run, subtract } from "../core/id_ranges.ts";

/** A product that REST doesn't answer for is asked about again after a growing wait of at most so many ms. */
const longestBlockMs: Record<RestFailure, number> = {
  away: 60_000,
  "not understood": 3_600_000,
  refused: 86_400_000,
};
/** A live product's newest trade is asked for so often: a changed format is known before there is a gap. */
const probeMs = 60_000;

/** What REST was asked for when it failed: missing trades, or its newest one. */
type Purpose = "fill" | "probe";

/** What is wrong with REST, by product. */
export interface Blocks {
  /** Whether REST may be asked about the product. */
  isBlocked(productId: string): boolean;
  /** Waits before the next request. The first failure of a kind is an error in the log, those that follow are warnings. */
  failed(productId: string, purpose: Purpose, error: RestError): void;
  /** The same has been answered. */
  ended(productId: string, purpose: Purpose): void;
  /** Forgets the products of which it isn't wanted any more. */
  retain(purpose: Purpose, products: { has(productId: string): boolean }): void;
  /** For /healthz: undefined when all is well. A product that the exchange refuses is the product's matter, not ours. */
  describe(): string | undefined;
  /** Products. */
  count(): number;
}

/** Nobody is blocked. */
export function createBlocks(log: Logger, againMs: number, now = () => performance.now()): Blocks {
  const blocks = new Map<
    string,
    { productId: string; purpose: Purpose; failures: number; until: number; error: RestError }
  >();
  const of = (productId: string) => [...blocks.values()].filter((block) => block.productId === productId);
  return {
    isBlocked: (productId) => of(productId).some(({ until }) => until > now()),
    failed(productId, purpose, error) {
      const key = `${purpose} ${productId}`;
      const before = blocks.get(key);
      const isFirst = [...blocks.values()].every((block) => block.error.failure !== error.failure);
      const failures = before?.error.failure === error.failure ? before.failures + 1 : 1;
      const waitMs = backoffMs(failures, { initialMs: againMs, maximumMs: longestBlockMs[error.failure] });
      blocks.set(key, { productId, purpose, failures, until: now() + waitMs, error });
      log[isFirst ? "error" : "warn"](error.message, { product: productId, wait_ms: Math.round(waitMs) });
    },
    ended(productId, purpose) {
      if (blocks.delete(`${purpose} ${productId}`)) log.info("REST answers again", { product: productId });
    },
    retain(purpose, products) {
      for (const [key, block] of blocks) {
        if (block.purpose === purpose && !products.has(block.productId)) blocks.delete(key);
      }
    },
    describe() {
      const serious = [...blocks.values()].filter(({ error }) => error.failure !== "refused");
      const others = new Set(serious.map(({ productId }) => productId)).size - 1;
      const more = others > 0 ? ` ${others} more ${others === 1 ? "product" : "products"}.` : "";
      return serious[0] && `REST: ${serious[0].error.message}${more}`;
    },
    count: () => new Set([...blocks.values()].map(({ productId }) => productId)).size,
  };
}

/** The gaps that are too large and weren't reported yet; a gap that has changed its ends is the same one. */
export function createSizeReport(): (tooLarge: readonly Gap[]) => Gap[] {
  let reported = new Map<string, Run[]>();
  return (tooLarge) => {
    const unknown = tooLarge.filter((gap) =>
      intersect([gap], reported.get(gap.productId) ?? []).length === 0
    );
    reported = Map.groupBy(tooLarge, ({ productId }) => productId);
    return unknown;
  };
}

/** The gaps in figures; `oldestSeconds` is of those that are filled unasked and not given up. */
export function figuresOf(gaps: readonly Gap[], missing: ReadonlyMap<string, Missing>, now: number) {
  const tooLarge = [...missing.values()].flatMap((ofProduct) => ofProduct.tooLarge);
  const small = gaps.filter((gap) => !tooLarge.includes(gap));
  const open = small.filter((gap) => gap.givenUp < countIds([gap]));
  const givenUp = small.filter((gap) => gap.givenUp > 0);
  const trades = (ids: number[]) => ids.reduce((sum, count) => sum + count, 0);
  return {
    gaps: { open: open.length, given_up: givenUp.length, too_large: tooLarge.length },
    trades: {
      open: trades(open.map((gap) => countIds([gap]) - gap.givenUp)),
      given_up: trades(givenUp.map((gap) => gap.givenUp)),
      too_large: countIds(tooLarge),
    },
    oldestSeconds: Math.max(0, ...open.map(({ seenAt }) => (now - seenAt) / 1e6)),
  };
}

/** What the watch works with. */
export interface WatchOptions {
  filler: Pick<GapFiller, "trackerOf" | "fill" | "lag">;
  blocks: Blocks;
  /** Reads the gaps and sorts them. */
  look(): Promise<{ gaps: Gap[]; missing: Map<string, Missing> }>;
  /** The live products with their stored trade of the highest id; only one of them when it is named. */
  newest(productId?: string): Promise<Map<string, TradeMark>>;
  registry: Registry;
  log: Logger;
  signal: AbortSignal;
  intervalMs: number;
  /** COINBASE_REST_PER_SECOND, for what a gap would cost. */
  perSecond: number;
}

/** Fills gaps until the signal aborts. */
export async function watchGaps(options: WatchOptions): Promise<void> {
  const { filler, blocks, log, signal } = options;
  const gauges = createGauges(options.registry);
  const unreported = createSizeReport();
  const busy = new Map<string, Promise<void>>();
  let failure: { error: unknown } | undefined;
  let wake = new AbortController();

  /** Works for a product beside the others. What isn't a matter of REST ends the service. */
  function start(productId: string, purpose: Purpose, work: () => Promise<void>): void {
    const done = work().then(() => {
      blocks.ended(productId, purpose);
      // What fills a gap a probe would understand too: it needn't wait for its turn to say so.
      if (purpose === "fill") blocks.ended(productId, "probe");
    }).catch((error) => {
      if (error instanceof RestError) return blocks.failed(productId, purpose, error);
      failure ??= { error };
      wake.abort();
    }).finally(() => busy.delete(productId));
    busy.set(productId, done);
  }

  const queue: string[] = [];
  let measured = new Set<string>();
  let queuedAt = -Infinity;

  /** One product at a look, and each at most once a minute. */
  async function probe(): Promise<void> {
    if (queue.length === 0 && performance.now() - queuedAt >= probeMs) {
      queuedAt = performance.now();
      const live = await options.newest();
      blocks.retain("probe", live);
      for (const product of measured) if (!live.has(product)) gauges.lag.remove({ product });
      measured = new Set(live.keys());
      queue.push(...live.keys());
    }
    const productId = queue.shift();
    if (productId === undefined || busy.has(productId) || blocks.isBlocked(productId)) return;
    const stored = (await options.newest(productId)).get(productId);
    if (stored === undefined) return;
    start(productId, "probe", async () => {
      gauges.lag.set({ product: productId }, await filler.lag(productId, stored));
    });
  }

  try {
    while (!signal.aborted) {
      if (failure !== undefined) throw failure.error;
      wake = new AbortController();
      const { gaps, missing } = await options.look();
      gauges.show(figuresOf(gaps, missing, nowMicros()), blocks.count());
      for (const gap of unreported([...missing.values()].flatMap(({ tooLarge }) => tooLarge))) {
        const { trades, requests, seconds } = costOf(countIds([gap]), options.perSecond);
        log.warn("a gap is too large to be filled unasked; BACKFILL_MAX_GAP is the bound", {
          ...{ product: gap.productId, first: gap.first, last: gap.last, trades, requests, seconds },
          fill_with: fillCommand(gap),
        });
      }
      blocks.retain(
        "fill",
        new Set([...missing].filter(([, { open }]) => open.length > 0).map(([id]) => id)),
      );
      for (const [productId, { open, arriving }] of missing) {
        if (busy.has(productId)) continue;
        const ids = subtract(filler.trackerOf(productId).due(open, Date.now()), arriving);
        if (ids.length === 0 || blocks.isBlocked(productId)) continue;
        start(productId, "fill", async () => {
          const { isWhole } = await filler.fill(productId, ids);
          if (!isWhole) wake.abort();
        });
      }
      await probe();
      await sleep(options.intervalMs, AbortSignal.any([signal, wake.signal]));
    }
  } finally {
    // The stop ends what they wait for.
    if (signal.aborted) await Promise.all(busy.values());
  }
}

function createGauges(registry: Registry) {
  const registers = [registry];
  const gaps = new Gauge({
    name: "tapehouse_backfill_gaps",
    help: "Gaps, by state: open, given_up (REST proved again and again not to have some of it), too_large.",
    labelNames: ["state"],
    registers,
  });
  const trades = new Gauge({
    name: "tapehouse_backfill_missing_trades",
    help: "Missing trades, by the state of their gap.",
    labelNames: ["state"],
    registers,
  });
  const oldest = new Gauge({
    name: "tapehouse_backfill_oldest_gap_seconds",
    help: "Age of the oldest open gap; 0 when there is none.",
    registers,
  });
  const blocked = new Gauge({
    name: "tapehouse_backfill_blocked_products",
    help: "Products that REST refuses, doesn't answer for, or answers for in a way that isn't understood.",
    registers,
  });
  const lag = new Gauge({
    name: "tapehouse_rest_lag_trades",
    help: "How many trades REST's newest is behind the newest stored one.",
    labelNames: ["product"],
    registers,
  });
  return {
    lag,
    show(figures: ReturnType<typeof figuresOf>, blockedProducts: number) {
      for (const [state, count] of Object.entries(figures.gaps)) gaps.set({ state }, count);
      for (const [state, count] of Object.entries(figures.trades)) trades.set({ state }, count);
      oldest.set(figures.oldestSeconds);
      blocked.set(blockedProducts);
    },
  };
}
