/**
 * What is missing and what is odd: `/api/completeness`, `/api/gaps` and `/api/anomalies`.
 *
 * @module
 */

import type { Api } from "../env.ts";
import { formatMicros, nowMicros } from "../../core/time.ts";
import { type Columns, described, integer, nullable, number, text, time } from "../columns.ts";
import type { ReadClient } from "../read_client.ts";
import type { KnownProducts } from "../cache/known_products.ts";
import { anomalyKinds, anyProduct, from, kind, severities, severity, threshold, to } from "../parameters.ts";
import { addList, microsOf } from "../route.ts";
import { assertRange } from "./trades.ts";

const day = 86_400_000_000;

const completenessColumns: Columns = {
  product_id: text,
  hour: time,
  trades: described(integer, "Stored."),
  expected: described(integer, "Made by the exchange, by its own numbering."),
  ratio: described(number, "trades / expected; 1 where none was expected."),
  open_gaps: described(integer, "Gaps that touch the hour."),
  filled_gaps: described(integer, "Gaps that backfill has filled."),
  filled_trades: integer,
  status: described(
    text,
    "complete, incomplete, or unconfirmed: nothing from after the hour's end is known yet.",
  ),
};

const gapColumns: Columns = {
  product_id: text,
  first_missing: described(integer, "The first trade id that isn't stored."),
  last_missing: described(integer, "The last one, included."),
  missing: integer,
  after_time: described(time, "The stored trade before the gap."),
  before_time: described(time, "The stored trade behind it; the newest heartbeat where there is none."),
  seen_at: described(time, "When the gap could first be seen."),
  status: {
    kind: "text",
    sql: "if(v.given_up >= v.missing, 'given_up', 'open')",
    description: "open: backfill asks for it; given_up: the exchange doesn't serve these trades.",
  },
};

const anomalyColumns: Columns = {
  product_id: text,
  kind: { kind: "text", values: anomalyKinds, description: "The rule that found it." },
  severity: { kind: "text", sql: "toString(v.severity)", values: severities },
  time: described(time, "When it began."),
  end_time: described(nullable(time), "Null while it goes on."),
  value: described(number, "What was measured."),
  threshold: described(number, "What it was held against."),
  score: described(number, "How odd: how many times the threshold."),
  explanation: described(text, "A sentence with the numbers."),
  detected_at: described(time, "When it was found first."),
  updated_at: described(time, "When this was said of it."),
};

/** Adds the three. */
export function addQuality(app: Api, clickhouse: ReadClient, known: KnownProducts): void {
  addCompleteness(app, clickhouse, known);
  addGaps(app, clickhouse, known);
  addAnomalies(app, clickhouse, known);
}

function addCompleteness(app: Api, clickhouse: ReadClient, known: KnownProducts): void {
  addList(app, clickhouse, {
    path: "/api/completeness",
    summary: "Completeness, hour by hour",
    description:
      "How many of the trades that the exchange made in an hour are stored, oldest hour first; the last 24 hours " +
      "when `from` is absent.",
    parameters: { product_id: anyProduct, from, to },
    columns: completenessColumns,
    defaultLimit: 1000,
    place: ["number", "string", "number"],
    async select({ query }, { place }) {
      assertRange(query.from, query.to);
      if (query.product_id !== undefined) await known.assertKnown(query.product_id);
      const until = place ? Number(place[2]) : query.to ?? nowMicros();
      const since = place ? Number(place[0]) : query.from ?? until - day;
      return {
        from: "completeness AS v",
        where: [
          "v.hour >= {from:DateTime64(6, 'UTC')}",
          "v.hour < {to:DateTime64(6, 'UTC')}",
          ...(query.product_id === undefined ? [] : ["v.product_id = {product:String}"]),
          ...(place ? ["(v.hour, v.product_id) > ({from:DateTime64(6, 'UTC')}, {after:String})"] : []),
        ],
        order: "v.hour, v.product_id",
        parameters: {
          from: formatMicros(Math.min(since, until)),
          to: formatMicros(until),
          ...(query.product_id !== undefined && { product: query.product_id }),
          ...(place && { after: String(place[1]) }),
        },
        place: (row) => [microsOf(row.hour), String(row.product_id), until],
      };
    },
  });
}

function addGaps(app: Api, clickhouse: ReadClient, known: KnownProducts): void {
  addList(app, clickhouse, {
    path: "/api/gaps",
    summary: "Gaps in the trade ids",
    description: "The trades that the exchange made and that aren't stored, newest gap of a product first.",
    parameters: { product_id: anyProduct },
    columns: gapColumns,
    defaultLimit: 1000,
    place: ["string", "number"],
    async select({ query }, { place }) {
      if (query.product_id !== undefined) await known.assertKnown(query.product_id);
      return {
        from: "trade_gaps AS v",
        where: [
          ...(query.product_id === undefined ? [] : ["v.product_id = {product:String}"]),
          ...(place
            ? [
              "(v.product_id > {after:String} OR (v.product_id = {after:String} AND v.first_missing < {before:UInt64}))",
            ]
            : []),
        ],
        order: "v.product_id, v.first_missing DESC",
        parameters: {
          ...(query.product_id !== undefined && { product: query.product_id }),
          ...(place && { after: String(place[0]), before: Number(place[1]) }),
        },
        place: (row) => [String(row.product_id), Number(row.first_missing)],
      };
    },
  });
}

function addAnomalies(app: Api, clickhouse: ReadClient, known: KnownProducts): void {
  addList(app, clickhouse, {
    path: "/api/anomalies",
    summary: "Anomalies",
    description: "Anomalies of the market and of the tape, from a minimum score, newest first.",
    parameters: {
      product_id: anyProduct,
      from,
      to,
      threshold,
      kind,
      severity,
    },
    columns: anomalyColumns,
    defaultLimit: 100,
    place: ["number", "string", "string"],
    async select({ query }, { place }) {
      assertRange(query.from, query.to);
      if (query.product_id !== undefined) await known.assertKnown(query.product_id);
      const condition = (sql: string, value: unknown) => value === undefined ? [] : [sql];
      return {
        from: "anomalies AS v",
        where: [
          ...condition("v.product_id = {product:String}", query.product_id),
          ...condition("v.time >= {from:DateTime64(6, 'UTC')}", query.from),
          ...condition("v.time < {to:DateTime64(6, 'UTC')}", query.to),
          ...condition("v.score >= {threshold:Float64}", query.threshold),
          ...condition("v.kind = {kind:String}", query.kind),
          ...condition("v.severity = {severity:String}", query.severity),
          ...condition(
            "(v.time < {at:DateTime64(6, 'UTC')} OR (v.time = {at:DateTime64(6, 'UTC')} " +
              "AND (v.product_id, v.kind) > ({after:String}, {after_kind:String})))",
            place,
          ),
        ],
        // The key of anomalies_state: no two rows agree in all three.
        order: "v.time DESC, v.product_id, v.kind",
        parameters: {
          ...(query.product_id !== undefined && { product: query.product_id }),
          ...(query.from !== undefined && { from: formatMicros(query.from) }),
          ...(query.to !== undefined && { to: formatMicros(query.to) }),
          ...(query.threshold !== undefined && { threshold: query.threshold }),
          ...(query.kind !== undefined && { kind: query.kind }),
          ...(query.severity !== undefined && { severity: query.severity }),
          ...(place && {
            at: formatMicros(Number(place[0])),
            after: String(place[1]),
            after_kind: String(place[2]),
          }),
        },
        place: (row) => [microsOf(row.time), String(row.product_id), String(row.kind)],
      };
    },
  });
}
