/**
 * All that the made-up API knows: the market, and the troubles of a tape: gaps, anomalies, hours that are not whole.
 *
 * @module
 */

import { isoMicros } from "../../../lib/core/time.ts";
import { chance } from "./chance.ts";
import { createMarkets, type Market } from "./fake_market.ts";

/** The state behind every answer. */
export interface World {
  /** Seconds since the epoch. What was before is made up, what came after are trades. */
  started: number;
  markets: Market[];
  gaps: ReturnType<typeof gap>[];
  anomalies: ReturnType<typeof anomaly>[];
}

/** The world as it is when the server starts. */
export function createWorld(): World {
  const started = Math.floor(Date.now() / 1000);
  return {
    started,
    markets: createMarkets(started),
    gaps: [
      gap("BTC-USD", started - 2_520, started - 2_220, 214, "open"),
      gap("BTC-USD", started - 5_700, started - 5_698, 1, "given_up"),
      gap("SOL-USD", started - 900, started - 840, 12, "open"),
    ],
    anomalies: [
      anomaly("BTC-USD", started - 3_300, "price_jump", "critical", {
        score: 9.4,
        explanation: "1m return of −0.62 %, 9.4 robust deviations",
      }),
      anomaly("BTC-USD", started - 1_500, "volume_spike", "warning", {
        score: 5.1,
        explanation: "5.1 × the median volume of the last hour",
      }),
      anomaly("ETH-USD", started - 600, "spread_blowout", "warning", {
        score: 6.3,
        explanation: "spread 14.2 bps, median 1.9 bps",
      }),
      anomaly("BTC-USD", started - 2_520, "gap", "critical", {
        score: 214,
        explanation: "214 trades are missing from the tape",
      }),
    ],
  };
}

function gap(product: string, from: number, to: number, missing: number, status: string) {
  const first = 700_000_000 + from % 100_000;
  return {
    product_id: product,
    first_missing: first,
    last_missing: first + missing - 1,
    missing,
    after_time: isoMicros(from * 1e6 + 250_000),
    before_time: isoMicros(to * 1e6 + 750_000),
    seen_at: isoMicros(to * 1e6 + 800_000),
    status,
  };
}

function anomaly(
  product: string,
  second: number,
  kind: string,
  severity: string,
  why: { score: number; explanation: string },
) {
  return { product_id: product, time: isoMicros(second * 1e6), kind, severity, ...why };
}

/** The gaps of a product. */
export function gapsOf({ gaps }: World, { id }: Market) {
  return gaps.filter(({ product_id }) => product_id === id);
}

/** A product's rows of `/api/completeness`: the last 24 hours, the newest first. */
export function completenessOf(world: World, market: Market) {
  const now = Math.floor(Date.now() / 3_600_000) * 3_600;
  return Array.from({ length: 24 }, (_, back) => {
    const hour = now - back * 3_600;
    const here = gapsOf(world, market).filter(({ after_time }) =>
      Math.floor(Date.parse(after_time) / 3_600_000) * 3_600 === hour
    );
    const missing = here.reduce((sum, each) => sum + each.missing, 0);
    const trades = 4_000 + Math.floor(chance(`${market.id}${hour}h`) * 3_000);
    const wasFilled = chance(`${market.id}${hour}f`) < 0.1;
    return {
      product_id: market.id,
      hour: isoMicros(hour * 1e6),
      trades,
      expected: trades + missing,
      ratio: trades / (trades + missing),
      open_gaps: here.length,
      filled_gaps: wasFilled ? 2 : 0,
      filled_trades: wasFilled ? 61 : 0,
      status: here.length > 0 ? "incomplete" : back === 0 ? "unconfirmed" : "complete",
    };
  });
}
