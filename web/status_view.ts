/** The pipeline from the exchange to the screen: rates, lag, freshness, completeness by hour, holes, events. @module */

/// <reference lib="dom" />

import type { CompletenessHour, Status } from "./api_types.ts";
import { completeness } from "./decimal.ts";
import { make, paintClass, write } from "./dom.ts";
import { gapText } from "./events_panel.ts";
import type { Percentiles } from "./latency.ts";
import { nowMicros } from "./now.ts";
import type { State } from "./state.ts";
import { missingOfDay } from "./tape_state.ts";
import { dateTime, micros, minute, span } from "./time.ts";
import { hopText, percentilesOf } from "./top_bar.ts";

/** What the page measured about itself. */
export interface Measured {
  screen: Percentiles | null;
  /** Messages and painted frames of the last second. */
  messages: number;
  frames: number;
  /** The server's clock minus the page's, ms. */
  offset: number | null;
}

const day = 24;

/** Draws into `host`; `choose` is called with the product that was clicked. */
export function createStatusView(host: HTMLElement, choose: (product: string) => void) {
  const pipeline = make("div", "pipeline");
  const heat = make("div", "body heat");
  const products = make("div", "body");
  const gaps = make("div", "body");
  const events = make("div", "body");
  const about = make("dl", "body about");
  host.append(
    card("Pipeline", pipeline, "wide"),
    card("Completeness by hour, last 24 h", heat, "wide"),
    card("Products", products, ""),
    card("Open holes", gaps, ""),
    card("Feed events since this page was opened", events, ""),
    card("Versions and services", about, ""),
  );

  return {
    paintPipeline(state: State, measured: Measured): void {
      const { status } = state;
      const rates = status?.rows_per_second;
      const perSecond = (value: number | null | undefined) =>
        value === null || value === undefined ? "–" : `${value.toFixed(value < 10 ? 1 : 0)}/s`;
      const lag = status?.lag ?? null;
      const database = status?.clickhouse;
      const live = state.connection.state === "open";
      const stages: [string, string, string][] = [
        [
          "Exchange",
          state.simulated ? "simulated" : "Coinbase",
          state.simulated ? "warn" : status === null ? "flat" : "up",
        ],
        ["Producer", `${perSecond(rates?.trades)} trades`, status === null ? "flat" : "up"],
        [
          "Kafka",
          lag === null ? "lag unknown" : `lag ${lag.toLocaleString("en-US")}`,
          status?.kafka?.ok === false
            ? "down"
            : lag !== null && lag > 10_000
            ? "warn"
            : status === null
            ? "flat"
            : "up",
        ],
        ["Consumer", rows(rates), status === null ? "flat" : "up"],
        [
          "ClickHouse",
          database?.ok === false ? "away" : database?.version ?? "–",
          database?.ok === false ? "down" : status === null ? "flat" : "up",
        ],
        ["API", live ? "stream open" : "stream lost", live ? "up" : "down"],
        ["Screen", `${measured.messages}/s · ${measured.frames} fps`, live ? "up" : "down"],
      ];
      const hops: (string | null)[] = [
        hopText(percentilesOf(status?.freshness?.exchange_to_received)),
        null,
        null,
        hopText(percentilesOf(status?.freshness?.received_to_stored)),
        null,
        hopText(measured.screen),
      ];
      const captions = ["exchange → received", "", "", "received → stored", "", "received → screen"];
      const parts = stages.flatMap(([name, text, tone], place) => {
        const stage = make("div", `stage ${tone}`, make("b", "", name), make("span", "", text));
        if (place === stages.length - 1) return [stage];
        const hop = hops[place] ?? null;
        const arrow = make("div", hop === null ? "arrow bare" : "arrow");
        if (hop !== null) arrow.append(make("span", "", hop), make("small", "", captions[place] ?? ""));
        return [stage, arrow];
      });
      pipeline.replaceChildren(...parts);
    },
    paintProducts(state: State): void {
      const known = state.status?.products ?? [];
      if (known.length === 0) {
        products.replaceChildren(make("p", "empty", state.problems.get("status") ?? "Loading…"));
        return;
      }
      const now = nowMicros();
      const head = row("head", "Product", "Last trade", "Received", "24 h", "Missing", "Holes");
      products.replaceChildren(
        head,
        ...known.map((product) => {
          const { trades } = missingOfDay(state.gaps, product.product_id, now);
          const ago = (iso: string | null) => iso === null ? "–" : `${span((now - micros(iso)) / 1000)} ago`;
          const line = row(
            "line",
            product.product_id,
            ago(product.last_trade_at),
            ago(product.last_received_at),
            completeness(product.completeness_24h, trades),
            product.missing_trades.toLocaleString("en-US"),
            String(product.open_gaps),
          );
          const tone = product.open_gaps > 0 ? "warn" : product.completeness_24h === null ? "flat" : "up";
          line.children[3]?.classList.add(tone);
          line.setAttribute("role", "link");
          line.tabIndex = 0;
          line.addEventListener("click", () => choose(product.product_id));
          line.addEventListener("keydown", (event) => event.key === "Enter" && choose(product.product_id));
          return line;
        }),
      );
    },
    paintHeat(state: State): void {
      const strips = stripsOf(state.hours);
      if (strips.size === 0) {
        heat.replaceChildren(make("p", "empty", state.problems.get("hours") ?? "No hour is known yet."));
        return;
      }
      const newest = Math.max(...state.hours.map(({ hour }) => micros(hour))) / 1000;
      const axis = make("div", "strip axis", make("b"));
      for (let back = day - 1; back >= 0; back--) {
        axis.append(
          make(
            "span",
            "",
            back % 4 === 3 || back === 0 ? minute(newest - back * 3_600_000, state.view.zone) : "",
          ),
        );
      }
      const lines = [...strips].map(([product, hours]) => {
        const line = make("div", "strip", make("b", "", product));
        for (let back = day - 1; back >= 0; back--) {
          const hour = hours.get(newest - back * 3_600_000);
          const cell = make("i", hour === undefined ? "none" : heatTone(hour));
          cell.title = hour === undefined
            ? `${product} ${dateTime(newest - back * 3_600_000, state.view.zone)}: nothing is known`
            : heatText(hour, state.view.zone);
          line.append(cell);
        }
        return line;
      });
      const legend = make("div", "heat-legend");
      for (
        const [tone, text] of [
          ["full", "complete"],
          ["filled", "holes filled"],
          ["open", "unconfirmed"],
          ["warn", "< 100 %"],
          ["down", "< 99 %"],
          ["none", "unknown"],
        ] as const
      ) {
        legend.append(make("span", "", make("i", tone), text));
      }
      heat.replaceChildren(...lines, axis, legend);
    },
    paintGaps(state: State): void {
      const list = state.gaps.toSorted((left, right) => micros(right.after_time) - micros(left.after_time))
        .slice(0, 50);
      const none = state.problems.get("gaps") ?? "No hole is open.";
      gaps.replaceChildren(
        ...(list.length === 0 ? [make("p", "empty", none)] : list.map((gap) =>
          make(
            "div",
            "hole",
            make("b", "", gap.product_id),
            make("span", "warn", gap.missing.toLocaleString("en-US")),
            make("time", "", dateTime(micros(gap.after_time) / 1000, state.view.zone)),
            make("span", "dim", gapText(gap)),
          )
        )),
      );
    },
    paintEvents(state: State): void {
      const list = state.events.slice(0, 50).map((event) =>
        make(
          "div",
          "hole",
          make("b", "", event.event.replaceAll("_", " ")),
          make("span", "", event.product_id ?? ""),
          make("time", "", dateTime(micros(event.time) / 1000, state.view.zone)),
          make("span", "dim", [event.reason, detailsOf(event.details)].filter(Boolean).join(" · ")),
        )
      );
      events.replaceChildren(
        ...(list.length === 0 ? [make("p", "empty", "Nothing happened: the feed runs.")] : list),
      );
    },
    paintAbout(state: State, measured: Measured): void {
      const { status } = state;
      const facts: [string, string][] = [
        ["tapehouse", status?.version ?? "–"],
        ["Database", status?.database ?? "–"],
        [
          "ClickHouse",
          status?.clickhouse?.ok === false
            ? `away${status.clickhouse.reason ? `: ${status.clickhouse.reason}` : ""}`
            : status?.clickhouse?.version ?? "–",
        ],
        ["Kafka", status?.kafka ? status.kafka.ok ? "reached" : "away" : "–"],
        ["Stream clients", String(status?.stream?.clients ?? "–")],
        [
          "Server's clock",
          clockText(measured.offset),
        ],
      ];
      facts.forEach(([label, value], place) => {
        if (about.children[place] === undefined) {
          about.append(make("div", "", make("dt", "", label), make("dd")));
        }
        const detail = about.children[place]?.children[1];
        if (detail !== undefined) write(detail, value);
      });
      paintClass(about, "body about");
    },
  };
}

/** What is stored a second, of all tables that have a rate. */
function rows(rates: Status["rows_per_second"]): string {
  const known = [rates?.trades, rates?.tickers, rates?.book_changes].filter((rate) =>
    typeof rate === "number"
  );
  if (known.length === 0) return "–";
  return `${known.reduce((sum, rate) => sum + rate, 0).toFixed(0)} rows/s`;
}

/** How the server's clock stands to the page's; `offset` as the stream says it. */
function clockText(offset: number | null): string {
  if (offset === null) return "not compared yet";
  const ahead = offset - performance.timeOrigin;
  return `${Math.abs(ahead).toFixed(1)} ms ${ahead < 0 ? "behind" : "ahead of"} this page's`;
}

function card(title: string, body: HTMLElement, className: string): HTMLElement {
  const made = make("section", `panel card ${className}`, make("header", "", make("h2", "", title)), body);
  made.setAttribute("aria-label", title);
  return made;
}

function row(className: string, ...texts: string[]): HTMLElement {
  return make("div", `product-row ${className}`, ...texts.map((text) => make("span", "", text)));
}

function detailsOf(details: unknown): string {
  if (details === undefined || details === null || details === "") return "";
  const text = typeof details === "string" ? details : JSON.stringify(details);
  return text === "{}" ? "" : text.slice(0, 160);
}

/** Product → hour (ms) → what is known of it. */
function stripsOf(hours: readonly CompletenessHour[]): Map<string, Map<number, CompletenessHour>> {
  const strips = new Map<string, Map<number, CompletenessHour>>();
  for (const hour of hours) {
    const strip = strips.get(hour.product_id) ?? new Map<number, CompletenessHour>();
    strips.set(hour.product_id, strip);
    strip.set(micros(hour.hour) / 1000, hour);
  }
  return strips;
}

function heatTone(hour: CompletenessHour): string {
  if (hour.ratio < 0.99) return "down";
  if (hour.open_holes > 0 || hour.ratio < 1) return "warn";
  if (hour.status === "unconfirmed") return "open";
  return (hour.filled_holes ?? 0) > 0 ? "filled" : "full";
}

function heatText(hour: CompletenessHour, zone: string): string {
  const when = dateTime(micros(hour.hour) / 1000, zone);
  const counts = `${hour.trades.toLocaleString("en-US")} of ${hour.expected.toLocaleString("en-US")} trades`;
  const filled = hour.filled_trades ? `, ${hour.filled_trades.toLocaleString("en-US")} filled in later` : "";
  return `${hour.product_id} ${when}: ${counts}${filled}, ${hour.status}`;
}
