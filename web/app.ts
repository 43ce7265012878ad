/**
 * The page: the address says what is shown, REST brings what was, the stream what is, and once a frame of the screen what
 * changed is painted.
 *
 * @module
 */

/// <reference lib="dom" />

import { startClock } from "./clock.ts";
import { listenToInput } from "./input.ts";
import type { Candle } from "./model/api_types.ts";
import { createFrames } from "./model/frames.ts";
import { createGapList } from "./model/gap_list.ts";
import { createLoader } from "./model/loader.ts";
import { createMeasurement } from "./model/measurement.ts";
import { inOrder } from "./model/product_list.ts";
import { createRest } from "./model/api_client.ts";
import { apply, emptyState, intervalOf, isUnknownProduct, type Part, viewParts } from "./model/state.ts";
import { openStream, type StreamEvents } from "./model/stream_connection.ts";
import { streamProtocols } from "./model/stream_protocols.ts";
import { readView } from "./model/url_state.ts";
import { createNavigation } from "./navigation.ts";
import { createTokens } from "./panels/token.ts";
import { createView } from "./view.ts";

const state = emptyState(readView(location.search));
const frames = createFrames<Part>((callback) => requestAnimationFrame(callback));
const tokens = createTokens();
const rest = createRest({ token: tokens.get, askToken: tokens.ask });
const load = createLoader(rest, state, frames.touch);
const stream = openStream({
  address: streamAddress,
  protocols: () => streamProtocols(tokens.get()),
  events: streamEvents(),
});
const measurement = createMeasurement(state, stream.offset);
const view = createView(state, frames, measurement, {
  show: (changed) => navigation.show(changed),
  olderCandles: () => load.olderCandles(view.chart.add),
});
const page = { state, frames, load, stream, measurement, view };
const navigation = createNavigation(page);
const gaps = createGapList(state, load, view.chart.add);

listenToInput(page, navigation, start);
startClock(page, gaps, retryProducts);
view.openTab("chart");
view.applyTheme();
view.chart.setZone(state.view.zone);
if (state.view.fill) view.chart.setFill(true);
frames.touch("view", "connection");
stream.connect();
await start();

/** Loads what every view needs, then opens the product of the view. */
async function start(): Promise<void> {
  const status = load.status();
  if (state.view.view === "status") load.hours();
  await Promise.all([load.products(), load.tickers()]);
  const known = inOrder(state);
  if (state.view.product === "" && known[0] !== undefined) navigation.chooseProduct(known[0]);
  const { product, interval } = state.view;
  if (product !== "" && interval === "" && !isUnknownProduct(state)) await load.usualInterval();
  frames.touch(...viewParts);
  if (product === "") view.chart.cover(state.problems.get("products") ?? "No product is on this tape yet.");
  else navigation.openProduct();
  await Promise.all([status, gaps.refresh()]);
  await load.sparklines(known);
}

/** Once the products are there, the page starts anew. */
async function retryProducts(): Promise<void> {
  if (await load.products()) await start();
}

function streamAddress(): string {
  const address = new URL("api/stream", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.search = "";
  return address.href;
}

/** What comes of the stream: nothing comes before it is connected. */
function streamEvents(): StreamEvents {
  return {
    message(message) {
      if (message.type === "candles_snapshot") {
        const isShown = message.product_id === state.view.product && message.interval === intervalOf(state);
        if (isShown) view.chart.add(message.candles as Candle[]);
        return;
      }
      frames.touch(...apply(state, message));
      if (message.type === "feed_event" && String(message.event).startsWith("gap")) gaps.refreshSoon();
    },
    connection(connection) {
      state.connection = connection;
      if (connection.state === "open") measurement.watchFromNow();
      frames.touch("connection", "problems");
    },
    lost() {
      navigation.reloadProduct();
      gaps.refresh();
    },
    refused(reason) {
      state.problems.set("stream", `The stream: ${reason}`);
      state.refusedAt = performance.now();
      frames.touch("problems");
    },
    simulated(simulated) {
      state.simulated = simulated;
      state.problems.delete("stream");
      frames.touch("status", "problems");
    },
  };
}
