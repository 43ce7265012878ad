/** The way from the exchange to the screen: a stage for each part, with its rate and the time to the next. @module */

/// <reference lib="dom" />

import type { Status } from "../model/api_types.ts";
import type { Measured } from "../model/measurement.ts";
import type { State } from "../model/state.ts";
import { make } from "./dom.ts";
import { hopText, percentilesOf } from "./top_bar.ts";

/** More messages that wait in Kafka than these are amber. */
const longLag = 10_000;

interface Stage {
  name: string;
  text: string;
  tone: "up" | "warn" | "down" | "flat";
  /** The time to the next stage, where it is measured. */
  hop?: { text: string; caption: string };
}

/** Draws into `host`. */
export function paintPipeline(host: HTMLElement, state: State, measured: Measured): void {
  const stages = stagesOf(state, measured);
  host.replaceChildren(...stages.flatMap(({ name, text, tone, hop }, place) => {
    const stage = make("div", `stage ${tone}`, make("b", "", name), make("span", "", text));
    if (place === stages.length - 1) return [stage];
    const arrow = make("div", hop === undefined ? "arrow bare" : "arrow");
    if (hop !== undefined) arrow.append(make("span", "", hop.text), make("small", "", hop.caption));
    return [stage, arrow];
  }));
}

function stagesOf(state: State, measured: Measured): Stage[] {
  const { status } = state;
  const { clickhouse, freshness } = status ?? {};
  const known = status === null ? "flat" : "up";
  const received = hopText(percentilesOf(freshness?.exchange_to_received));
  const stored = hopText(percentilesOf(freshness?.received_to_stored));
  const live = state.connection.state === "open";
  return [
    {
      name: "Exchange",
      text: state.simulated ? "simulated" : "Coinbase",
      tone: state.simulated ? "warn" : known,
      hop: { text: received, caption: "exchange → received" },
    },
    { name: "Producer", text: `${perSecond(status?.rows_per_second?.trades)} trades`, tone: known },
    kafkaStage(status),
    {
      name: "Consumer",
      text: rowsPerSecond(status?.rows_per_second),
      tone: known,
      hop: { text: stored, caption: "received → stored" },
    },
    {
      name: "ClickHouse",
      text: clickhouse?.ok === false ? "away" : clickhouse?.version ?? "–",
      tone: clickhouse?.ok === false ? "down" : known,
    },
    {
      name: "API",
      text: live ? "stream open" : "stream lost",
      tone: live ? "up" : "down",
      hop: { text: hopText(measured.screen), caption: "received → screen" },
    },
    {
      name: "Screen",
      text: `${measured.messages}/s · ${measured.frames} fps`,
      tone: live ? "up" : "down",
    },
  ];
}

function kafkaStage(status: Status | null): Stage {
  const lag = status?.lag ?? null;
  const text = lag === null ? "lag unknown" : `lag ${lag.toLocaleString("en-US")}`;
  if (status?.kafka?.ok === false) return { name: "Kafka", text, tone: "down" };
  if (lag !== null && lag > longLag) return { name: "Kafka", text, tone: "warn" };
  return { name: "Kafka", text, tone: status === null ? "flat" : "up" };
}

function perSecond(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${value.toFixed(value < 10 ? 1 : 0)}/s`;
}

/** What is stored a second, of all tables that have a rate. */
function rowsPerSecond(rates: Status["rows_per_second"]): string {
  const known = [rates?.trades, rates?.tickers, rates?.book_changes].filter((rate) =>
    typeof rate === "number"
  );
  if (known.length === 0) return "–";
  return `${known.reduce((sum, rate) => sum + rate, 0).toFixed(0)} rows/s`;
}
