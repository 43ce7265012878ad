/**
 * `/api/status`: how the tape does, computed once for all who ask.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import type { Api } from "../env.ts";
import { formatMicros, isoMicros, nowMicros } from "../../core/time.ts";
import { version } from "../../core/version.ts";
import { timeText } from "../columns.ts";
import type { ReadClient } from "../read_client.ts";
import type { LagReader } from "../cache/consumer_lag.ts";
import { timeFormat } from "../parameters.ts";
import { Problem } from "../problem.ts";
import { addRoute, jsonAnswer } from "../route.ts";
import { createSharedAnswer } from "../../core/shared_answer.ts";

const hop = z.strictObject({
  p50_ms: z.number().nullable(),
  p99_ms: z.number().nullable(),
}).openapi({ description: "Null without trades." });

const statusSchema = z.strictObject({
  version: z.string(),
  simulated: z.boolean().openapi({ description: "True when the data comes from the simulated exchange." }),
  database: z.string(),
  time: timeText,
  freshness: z.strictObject({ exchange_to_received: hop, received_to_stored: hop })
    .openapi({ description: "Over the trades of the last minute that came by the feed." }),
  lag: z.int().nullable().openapi({
    description: "Messages in Kafka that aren't stored yet; null when unknown.",
  }),
  rows_per_second: z.strictObject({
    trades: z.number().nullable(),
    tickers: z.number().nullable(),
    book_changes: z.number().nullable(),
  }).openapi({ description: "Averages of the last minute, by the exchange's clock." }),
  products: z.array(z.strictObject({
    product_id: z.string(),
    last_trade_at: timeText.nullable(),
    last_received_at: timeText.nullable(),
    completeness_24h: z.number().nullable().openapi({
      description: "Trades stored / trades made in 24 hours.",
    }),
    missing_24h: z.int().nullable().openapi({
      description: "Trades made in 24 hours that aren't stored.",
    }),
    open_gaps: z.int().openapi({ description: "Gaps in the trade ids, of all time." }),
    missing_trades: z.int().openapi({ description: "Trades that lie in them." }),
  })),
  stream: z.looseObject({ clients: z.int() }),
  clickhouse: z.strictObject({
    ok: z.boolean(),
    version: z.string().nullable(),
    reason: z.string().optional(),
  }),
  kafka: z.strictObject({ ok: z.boolean() }),
});

interface Facts {
  freshness: { received: (number | null)[]; stored: (number | null)[] };
  rates: Record<"trades" | "tickers" | "book_changes", number>;
  products: {
    product_id: string;
    last_trade: number | null;
    last_received: number | null;
    completeness: number | null;
    missing_day: number | null;
    open_gaps: number;
    missing: number;
  }[];
  version: string;
}

const minute = 60_000_000;

/** Adds `/api/status`. */
export function addStatus(
  app: Api,
  services: {
    clickhouse: ReadClient;
    databaseName: string;
    simulated: boolean;
    lag?: LagReader | undefined;
    stream: () => { clients: number };
  },
): void {
  const { clickhouse, databaseName, simulated, lag, stream } = services;
  const facts = createSharedAnswer(() => readFacts(clickhouse), { freshMs: 1000, staleMs: 5000 });

  addRoute(app, {
    path: "/api/status",
    summary: "Status of the tape",
    description:
      "Freshness of each hop, lag, rates, and what is missing of each product. Computed at most once a second for " +
      "all clients. While ClickHouse is away this still answers 200, with `clickhouse.ok` false.",
    parameters: { time_format: timeFormat },
    answer: statusSchema,
  }, async ({ query, request }) => {
    const kafka = lag?.read() ?? { ok: false, lag: null };
    const found = await facts().catch((error) => {
      if (error instanceof Problem) return error;
      throw error;
    });
    const known = found instanceof Problem ? undefined : found;
    const show = (micros: number | null) =>
      micros === null || query.time_format === "unix_us" ? micros : isoMicros(micros);
    return jsonAnswer(
      request,
      JSON.stringify({
        version,
        simulated,
        database: databaseName,
        time: show(nowMicros()),
        freshness: {
          exchange_to_received: quantiles(known?.freshness.received),
          received_to_stored: quantiles(known?.freshness.stored),
        },
        lag: kafka.lag,
        rows_per_second: known?.rates ?? { trades: null, tickers: null, book_changes: null },
        products: (known?.products ?? []).map((row) => ({
          product_id: row.product_id,
          last_trade_at: show(row.last_trade),
          last_received_at: show(row.last_received),
          completeness_24h: row.completeness,
          missing_24h: row.missing_day,
          open_gaps: row.open_gaps,
          missing_trades: row.missing,
        })),
        stream: stream(),
        clickhouse: found instanceof Problem
          ? { ok: false, version: null, reason: found.message }
          : { ok: true, version: found.version },
        kafka: { ok: kafka.ok },
      }),
    );
  });
}

function quantiles(found: (number | null)[] | undefined) {
  const ms = (micros: number | null | undefined) =>
    typeof micros === "number" ? Math.round(micros) / 1000 : null;
  return { p50_ms: ms(found?.[0]), p99_ms: ms(found?.[1]) };
}

async function readFacts(clickhouse: ReadClient): Promise<Facts> {
  const now = nowMicros();
  const since = { since: formatMicros(now - minute) };
  const day = { day: formatMicros(now - 1440 * minute) };
  const count = async (table: string) => {
    const [row] = await clickhouse.rows<{ n: number }>(
      `SELECT count() AS n FROM ${table} AS v WHERE v.time >= {since:DateTime64(6, 'UTC')}`,
      since,
    );
    return Math.round((row?.n ?? 0) / 60 * 100) / 100;
  };
  const [hops, trades, tickers, changes, runs, complete, gaps] = await Promise.all([
    clickhouse.rows<Facts["freshness"] & { version: string }>(
      `SELECT version() AS version,
        quantilesTDigest(0.5, 0.99)(toFloat64(dateDiff('microsecond', v.time, v.received_at))) AS received,
        quantilesTDigest(0.5, 0.99)(toFloat64(dateDiff('microsecond', v.received_at, v.ingested_at))) AS stored
       FROM trades AS v WHERE v.time >= {since:DateTime64(6, 'UTC')} AND v.source != 'backfill'`,
      since,
    ),
    count("trades"),
    count("tickers"),
    count("book_changes"),
    clickhouse.rows<{ product_id: string; trade: number; received: number }>(
      `SELECT v.product_id AS product_id, toUnixTimestamp64Micro(max(v.last_time)) AS trade,
        toUnixTimestamp64Micro(max(v.last_received_at)) AS received
       FROM trade_runs AS v GROUP BY product_id`,
    ),
    clickhouse.rows<{ product_id: string; ratio: number | null; missing: number }>(
      `SELECT v.product_id AS product_id, sum(v.trades) / sum(v.expected) AS ratio,
        sum(v.expected) - sum(v.trades) AS missing
       FROM completeness AS v WHERE v.hour >= {day:DateTime64(6, 'UTC')} GROUP BY product_id`,
      day,
    ),
    clickhouse.rows<{ product_id: string; gaps: number; missing: number }>(
      "SELECT v.product_id AS product_id, count() AS gaps, sum(v.missing) AS missing FROM trade_gaps AS v GROUP BY product_id",
    ),
  ]);
  const names = new Set([...runs, ...complete, ...gaps].map(({ product_id }) => product_id));
  return {
    freshness: { received: hops[0]?.received ?? [], stored: hops[0]?.stored ?? [] },
    rates: { trades, tickers, book_changes: changes },
    version: hops[0]?.version ?? "",
    products: [...names].sort().map((name) => {
      const of = <T extends { product_id: string }>(rows: T[]) =>
        rows.find(({ product_id }) => product_id === name);
      return {
        product_id: name,
        last_trade: of(runs)?.trade ?? null,
        last_received: of(runs)?.received ?? null,
        completeness: of(complete)?.ratio ?? null,
        missing_day: of(complete)?.missing ?? null,
        open_gaps: of(gaps)?.gaps ?? 0,
        missing: of(gaps)?.missing ?? 0,
      };
    }),
  };
}
