/** What is always in sight: freshness, completeness, connection, and the product's figures. @module */

/// <reference lib="dom" />

import { nowMicros } from "../../lib/core/time.ts";
import type { Hop } from "../model/api_types.ts";
import { change, cut, digitsOf, direction, format, short } from "../model/decimal_text.ts";
import { byId, make, paintClass, tone, write } from "./dom.ts";
import type { Percentiles } from "../model/latency.ts";
import type { State } from "../model/state.ts";
import { incompleteOthers, verdict } from "../model/tape_state.ts";

/** Above these p99 a hop is amber, above ten times as much red; in ms. */
const slow = { received: 1_000, stored: 2_000, screen: 250 };

/** A hop as the server measured it, as percentiles. */
export function percentilesOf(hop: Hop | null | undefined): Percentiles | null {
  if (hop?.p50_ms === null || hop?.p50_ms === undefined || hop.p99_ms === null) return null;
  return { p50: hop.p50_ms, p99: hop.p99_ms };
}

/** `34 / 62 ms`, `–` when unknown. */
export function hopText(hop: Percentiles | null): string {
  if (hop === null) return "–";
  const text = (value: number) => value >= 10_000 ? `${(value / 1000).toFixed(0)}k` : value.toFixed(0);
  return `${text(hop.p50)} / ${text(hop.p99)} ms`;
}

/** The three hops; `screen` is what the page itself measured. */
export function paintHops(state: State, screen: Percentiles | null, samples: number): void {
  const hops = {
    received: percentilesOf(state.status?.freshness?.exchange_to_received),
    stored: percentilesOf(state.status?.freshness?.received_to_stored),
    screen,
  };
  for (const name of ["received", "stored", "screen"] as const) {
    const box = byId(`hop-${name}`);
    const hop = hops[name];
    const value = box.querySelector("dd");
    if (value !== null) write(value, hopText(hop));
    const level = hop === null
      ? ""
      : hop.p99 > slow[name] * 10
      ? "down"
      : hop.p99 > slow[name]
      ? "warn"
      : "up";
    paintClass(box, level);
  }
  const box = byId("hop-screen");
  box.dataset.p50 = screen?.p50.toFixed(1) ?? "";
  box.dataset.p99 = screen?.p99.toFixed(1) ?? "";
  box.dataset.samples = String(samples);
}

/** How complete the shown product's last 24 hours are. */
export function paintCompleteness(state: State): void {
  const button = byId("complete");
  const product = state.view.product;
  const found = verdict(state.status, state.gaps, product, nowMicros());
  const [, value, note] = [...button.children];
  const others = incompleteOthers(state.status, product);
  if (value !== undefined) write(value, found.value);
  if (note !== undefined) {
    write(
      note,
      others === 0 ? found.note : `${found.note} · ${others} other${others === 1 ? "" : "s"} incomplete`,
    );
  }
  const elsewhere = others === 0
    ? ""
    : `; ${others} other ${others === 1 ? "product has" : "products have"} gaps`;
  button.title =
    `${product}, last 24 hours: ${found.value}, ${found.note}${elsewhere}. Show what is missing (h)`;
  paintClass(button, `complete ${found.tone}`);
}

/** The state of the stream, in a word. */
export function paintConnection(state: State): void {
  const box = byId("connection");
  const text = box.querySelector("span");
  const { connection } = state;
  paintClass(box, `connection ${connection.state}`);
  const words = { open: "Live", connecting: "Connecting", waiting: "Reconnecting" };
  if (text !== null) write(text, words[connection.state]);
  document.body.classList.toggle("stale", connection.state !== "open");
}

/** The product's name, last price and the day's figures. */
export function paintQuote(state: State): void {
  const { product } = state.view;
  const info = state.products.get(product);
  const ticker = state.tickers.get(product);
  const last = state.lasts.get(product);
  const digits = digitsOf(info?.quote_increment);
  const name = byId("product").querySelector(".name");
  if (name !== null) write(name, product || "–");
  const price = byId("last");
  write(price, format(last?.price, digits));
  paintClass(price, tone(last?.direction ?? 0));
  const moved = byId("change");
  write(moved, change(last?.price, ticker?.open_24h));
  paintClass(moved, `change ${tone(direction(last?.price, ticker?.open_24h))}`);
  document.title = last === undefined ? "tapehouse" : `${format(last.price, digits)} ${product} · tapehouse`;
  const [bid, ask] = [state.book?.bids[0]?.[0], state.book?.asks[0]?.[0]];
  const figures: [string, string][] = [
    ["24 h high", format(ticker?.high_24h, digits)],
    ["24 h low", format(ticker?.low_24h, digits)],
    [
      `24 h volume${info?.base_currency ? ` ${info.base_currency}` : ""}`,
      ticker?.volume_24h ? cutVolume(ticker.volume_24h) : "–",
    ],
    ["Open", format(ticker?.open_24h, digits)],
    ["Bid", format(bid, digits)],
    ["Ask", format(ask, digits)],
    ["Status", info?.trading_disabled === true ? "disabled" : info?.status || "–"],
  ];
  const list = byId("figures");
  figures.forEach(([label, value], place) => {
    let box = list.children[place];
    if (box === undefined) {
      box = make("div", "", make("dt"), make("dd"));
      list.append(box);
    }
    const [term, detail] = [...box.children];
    if (term !== undefined) write(term, label);
    if (detail !== undefined) write(detail, value);
  });
}

function cutVolume(volume: string): string {
  return (volume.split(".")[0] ?? "").length > 6 ? short(volume) : cut(volume, 2);
}
