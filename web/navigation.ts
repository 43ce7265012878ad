/**
 * Where the page is: the address says it, and what is loaded and subscribed follows.
 *
 * @module
 */

/// <reference lib="dom" />

import type { Candle } from "./model/api_types.ts";
import { channelsOf } from "./model/channels.ts";
import { inOrder } from "./model/product_list.ts";
import { intervalOf, isUnknownProduct, leaveProduct, viewParts } from "./model/state.ts";
import { readView, type View, writeView } from "./model/url_state.ts";
import type { Page } from "./page_parts.ts";

/** The parts whose problems are those of the product that was left. */
const productParts = ["candles", "product", "history", "trades"];

/** Makes the way to another view. */
export function createNavigation({ state, frames, load, stream, measurement, view }: Page) {
  /** Changes the view and the address. */
  function show(changed: Partial<View>): void {
    const before = state.view;
    const next = { ...before, ...changed };
    const address = location.pathname + writeView(next);
    // Back leads to another product or view, not through every interval that was tried.
    const isPlace = next.product !== before.product || next.view !== before.view;
    if (isPlace) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
    apply(next);
  }

  /** Shows what is different in a view, and loads what it needs. */
  function apply(next: View): void {
    const before = state.view;
    state.view = next;
    const { chart } = view;
    if (next.zone !== before.zone) chart.setZone(next.zone);
    if (next.fill !== before.fill) chart.setFill(next.fill);
    if (next.theme !== before.theme) view.applyTheme();
    if (next.view === "status" && before.view !== "status") load.hours();
    if (next.product !== before.product || next.interval !== before.interval) {
      if (next.product !== before.product) leaveProduct(state);
      state.changedCandles = [];
      openProduct();
    }
    frames.touch(...viewParts);
  }

  /** Empties the chart for the product and interval of the view, and fills it again. */
  function openProduct(): void {
    const { product } = state.view;
    const isUnknown = isUnknownProduct(state);
    load.leave();
    for (const part of productParts) state.problems.delete(part);
    measurement.watchFromNow();
    view.chart.reset(isUnknown ? `${product} isn't on this tape.` : "Loading candles…");
    view.tape.reset();
    if (isUnknown) {
      state.problems.set("product", `${product} isn't on this tape. Press / to choose another product.`);
      state.book = { time: null, bids: [], asks: [], reason: "no such product" };
    }
    frames.touch("problems");
    stream.want(channelsOf(isUnknown ? "" : product, intervalOf(state), inOrder(state)));
    loadProduct();
  }

  function loadProduct(): void {
    if (state.view.product === "" || isUnknownProduct(state)) return;
    load.candles((candles: Candle[]) => {
      view.chart.add(candles);
      if (view.chart.size() === 0) view.chart.cover("No trade of this product is stored yet.");
    });
    load.trades();
    load.anomalies();
  }

  return {
    show,
    openProduct,
    /** What was sent while the page was away isn't in any snapshot: all of the product is loaded anew. */
    reloadProduct(): void {
      leaveProduct(state);
      loadProduct();
    },
    /** The address changed by itself: back, forward. */
    followAddress: () => apply(readView(location.search)),
    /** Opens a product in place of an address that names none. */
    chooseProduct(product: string): void {
      state.view = { ...state.view, product };
      history.replaceState(null, "", location.pathname + writeView(state.view));
    },
  };
}

/** The navigation that createNavigation makes. */
export type Navigation = ReturnType<typeof createNavigation>;
