/**
 * The page: the address says what is shown, REST brings what was, the stream what is, and once a frame of the screen what
 * changed is painted.
 *
 * @module
 */

/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

import type { Candle } from "./api_types.ts";
import { type Hole, holesOf, type TimedCandle } from "./candles.ts";
import { channelsOf } from "./channels.ts";
import { createCandleChart } from "./chart.ts";
import { change, cut, digitsOf, direction, format, short } from "./decimal.ts";
import { createDepth } from "./depth.ts";
import { byId, forgetColours, make, paintClass, tone, write } from "./dom.ts";
import { createEventsPanel, paintHolesDialog } from "./events_panel.ts";
import { createFrames } from "./frames.ts";
import { createLadder } from "./ladder.ts";
import { createSamples } from "./latency.ts";
import { createLoader } from "./loader.ts";
import { createMarkets, createSwitcher } from "./markets.ts";
import { nowMicros } from "./now.ts";
import { inOrder } from "./product_list.ts";
import { createRest } from "./rest.ts";
import { listen } from "./shortcuts.ts";
import { apply, emptyState, intervalOf, leaveProduct, type Part } from "./state.ts";
import { createStatusView, type Measured } from "./status_view.ts";
import { openStream } from "./stream.ts";
import { createTape } from "./tape.ts";
import { dateTime, day, parseInterval } from "./time.ts";
import { createTokens } from "./token.ts";
import { paintCompleteness, paintConnection, paintHops, paintQuote } from "./top_bar.ts";
import { readView, type View, writeView } from "./url_state.ts";

const intervals = ["1s", "5s", "1m", "5m", "15m", "1h", "4h", "1d", "1w"];

const state = emptyState(readView(location.search));
const frames = createFrames<Part>((callback) => requestAnimationFrame(callback));
const tokens = createTokens();
const rest = createRest({ token: tokens.get, askToken: tokens.ask });
const load = createLoader(rest, state, frames.touch);
const screen = createSamples(3_000);

/** When the stream told of trouble; it doesn't tell when that is over. */
let refusedAt = 0;

const stream = openStream({
  address: () => {
    const address = new URL("api/stream", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.search = "";
    const token = tokens.get();
    if (token !== null) address.searchParams.set("token", token);
    return address.href;
  },
  events: {
    message(message) {
      if (message.type === "candles_snapshot") {
        if (message.product_id === state.view.product && message.interval === intervalOf(state)) {
          addCandles(message.candles as Candle[]);
        }
        return;
      }
      frames.touch(...apply(state, message));
      if (message.type === "feed_event" && String(message.event).startsWith("gap")) soonGaps();
    },
    connection(connection) {
      state.connection = connection;
      if (connection.state === "open") watchFromNow();
      frames.touch("connection", "problems");
    },
    lost() {
      // What was sent while the page was away isn't in any snapshot.
      leaveProduct(state);
      loadProduct();
      loadGaps();
    },
    refused(reason) {
      state.problems.set("stream", `The stream: ${reason}`);
      refusedAt = performance.now();
      frames.touch("problems");
    },
    simulated(simulated) {
      state.simulated = simulated;
      state.problems.delete("stream");
      frames.touch("status", "problems");
    },
  },
});

// ── the view ────────────────────────────────────────────────────────────────

const dark = matchMedia("(prefers-color-scheme: dark)");
const chartBox = byId("chart");
const chart = createCandleChart(chartBox, {
  history: () => load.olderCandles(addCandles),
  hover: paintLegend,
  live: (inSight) => byId("live").hidden = inSight,
});
const tape = createTape(byId("tape"), byId("tape-top", HTMLButtonElement));
const ladder = createLadder(byId("ladder"), byId("imbalance"));
const depth = createDepth(byId("depth", HTMLCanvasElement), byId("depth-cover"), byId("depth-sub"));
const markets = createMarkets(byId("markets"), (product) => show({ product }));
const events = createEventsPanel(byId("events"), byId("events-sub"), (second) => {
  openTab("chart");
  chart.show(second);
});
const statusView = createStatusView(byId("status"), (product) => show({ product, view: "market" }));
const switcher = createSwitcher(
  byId("switcher", HTMLDialogElement),
  byId("search", HTMLInputElement),
  byId("found"),
  state,
  (product) => show({ product }),
);

/** Changes the view, the address, and what is loaded and subscribed for it. */
function show(changed: Partial<View>, record: "push" | "none" = "push"): void {
  const before = state.view;
  state.view = { ...before, ...changed };
  const { product, interval, zone, fill, theme, view } = state.view;
  const address = location.pathname + writeView(state.view);
  if (record === "push" && (product !== before.product || view !== before.view)) {
    history.pushState(null, "", address);
  } else if (record === "push") {
    history.replaceState(null, "", address);
  }
  if (zone !== before.zone) chart.setZone(zone);
  if (fill !== before.fill) chart.setFill(fill);
  if (theme !== before.theme) applyTheme();
  if (view === "status" && before.view !== "status") load.hours();
  if (product !== before.product || interval !== before.interval) {
    if (product !== before.product) leaveProduct(state);
    state.changedCandles = [];
    startProduct();
  }
  frames.touch("view", ...everything);
}

const everything: Part[] = [
  "products",
  "tickers",
  "price",
  "tape",
  "book",
  "holes",
  "anomalies",
  "feed",
  "status",
  "hours",
  "sparklines",
];

/** Empties the chart for the product and interval of the view, and fills it again. */
function startProduct(): void {
  const { product } = state.view;
  const interval = intervalOf(state);
  load.leave();
  chart.reset(parseInterval(interval) ?? { text: "1m", seconds: 60 }, digits().price);
  tape.reset();
  for (const part of ["candles", "product", "history", "trades"]) state.problems.delete(part);
  watchFromNow();
  const unknown = isUnknown();
  if (unknown) {
    state.problems.set("product", `${product} isn't on this tape. Press / to choose another product.`);
    state.book = { time: null, bids: [], asks: [], reason: "no such product" };
  }
  frames.touch("problems");
  cover(unknown ? `${product} isn't on this tape.` : "Loading candles…");
  paintLegend(null, null);
  stream.want(channelsOf(unknown ? "" : product, interval, inOrder(state)));
  loadProduct();
}

/** The address names a product that isn't on the tape. */
function isUnknown(): boolean {
  return state.products.size > 0 && !state.products.has(state.view.product);
}

function loadProduct(): void {
  if (state.view.product === "" || isUnknown()) return;
  load.candles((candles) => {
    addCandles(candles);
    if (chart.size() === 0) cover("No trade of this product is stored yet.");
  });
  load.trades();
  load.anomalies();
}

function addCandles(candles: readonly Candle[]): void {
  if (candles.length === 0) return;
  chart.add(candles);
  cover(null);
  paintLegend(chart.newestCandle(), null);
}

/** Says something in place of the candles; null shows them. */
function cover(text: string | null): void {
  const box = byId("chart-cover");
  box.hidden = text === null;
  write(box, text ?? "");
}

function digits(): { price: number; size: number } {
  const product = state.products.get(state.view.product);
  return { price: digitsOf(product?.quote_increment), size: digitsOf(product?.base_increment, 8) };
}

let hovering = false;

function paintLegend(candle: TimedCandle | null, note: { text: string; x: number; y: number } | null): void {
  const box = byId("legend");
  const tip = byId("tip");
  tip.hidden = note === null;
  if (note !== null) {
    write(tip, note.text);
    const left = Math.min(note.x + 14, chartBox.clientWidth - tip.offsetWidth - 80);
    tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(28, note.y + 12)}px)`;
  }
  // The exact values of what is cut for the eye.
  box.dataset.time = candle?.time ?? "";
  box.dataset.volume = candle?.volume ?? "";
  hovering = candle !== null && candle !== chart.newestCandle();
  const { price } = digits();
  const rising = candle === null ? "flat" : tone(direction(candle.close, candle.open));
  const values: [string, string, string][] = candle === null ? [] : [
    ["O", format(candle.open, price), rising],
    ["H", format(candle.high, price), rising],
    ["L", format(candle.low, price), rising],
    ["C", format(candle.close, price), rising],
    ["", change(candle.close, candle.open), rising],
    ["V", short(candle.volume), ""],
    ["VWAP", cut(candle.vwap, price), "vwap"],
    ["n", candle.trades.toLocaleString("en-US"), ""],
  ];
  if (box.children.length === 0) {
    box.append(make("b"), ...Array.from({ length: 8 }, () => make("span", "", make("i"), make("span"))));
  }
  const [title, ...cells] = box.children;
  if (title !== undefined) write(title, `${state.view.product} · ${intervalOf(state)}`);
  cells.forEach((cell, place) => {
    const [label = "", text = "", className = ""] = values[place] ?? [];
    const [head, body] = cell.children;
    if (head !== undefined) write(head, label);
    if (body !== undefined) write(body, text);
    paintClass(cell, className);
  });
}

function applyTheme(): void {
  const { theme } = state.view;
  document.documentElement.dataset.theme = theme === "auto" ? dark.matches ? "dark" : "light" : theme;
  forgetColours();
  chart.repaint();
  frames.touch("book", "sparklines");
}

function openTab(tab: string): void {
  document.body.dataset.tab = tab;
  for (const button of byId("tabs").querySelectorAll("button")) {
    if (button.dataset.tab === tab) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  frames.touch("book", "sparklines", "tape");
}

// ── painting ────────────────────────────────────────────────────────────────

/** Since when the product of the view is subscribed and in sight, `performance.now()`. */
let watchedSince = Infinity;
document.addEventListener("visibilitychange", watchFromNow);
const measured: Measured = { screen: null, messages: 0, frames: 0, offset: null };
let painted = 0;
const onStatus = () => state.view.view === "status";

frames.on(["view"], () => {
  const { view, fill, zone } = state.view;
  const interval = intervalOf(state);
  byId("market").hidden = view !== "market";
  byId("status").hidden = view !== "status";
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll<HTMLElement>(".views button")) {
    if (button.dataset.view === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  for (const button of byId("intervals").children) {
    button.setAttribute("aria-pressed", String(button.textContent === interval));
  }
  const free = byId("interval", HTMLInputElement);
  if (document.activeElement !== free) free.value = intervals.includes(interval) ? "" : interval;
  paintClass(free, intervals.includes(interval) ? "" : "chosen");
  byId("fill").setAttribute("aria-pressed", String(fill));
  byId("zone", HTMLSelectElement).value = zone;
});
frames.on(["products", "problems"], () => markets.paintOrder(state));
frames.on(["price", "products", "book"], () => paintQuote(state));
frames.on(["tickers", "products", "price"], () => markets.paint(state));
frames.on(["sparklines", "products"], () => markets.paintSparklines(state));
frames.on(["candles"], () => {
  const following = !hovering;
  for (const candle of state.changedCandles.splice(0)) chart.update(candle);
  if (chart.size() > 0) cover(null);
  if (following && chart.size() > 0) paintLegend(chart.newestCandle(), null);
});
frames.on(["problems"], () => {
  const problem = state.problems.get("candles");
  if (problem !== undefined && chart.size() === 0) cover(problem);
});
frames.on(["holes"], () => chart.setHoles(currentHoles()));
frames.on(["anomalies"], () => {
  chart.setAnomalies(state.anomalies.filter(({ product_id }) => product_id === state.view.product));
});
frames.on(["anomalies", "holes", "feed"], () => events.paint(state));
frames.on(["tape", "products"], () => tape.paint(state.tape, digits(), state.view.zone));
frames.on(["book", "products"], () => {
  ladder.paint(state.book, digits());
  depth.paint(state.book, digits().price);
  const time = state.book?.time ?? null;
  write(byId("book-sub"), time === null ? "" : dateTime(Date.parse(time), state.view.zone).slice(11));
});
frames.on(["status", "latency"], () => paintHops(state, measured.screen, screen.count));
frames.on(["status", "holes"], () => paintCompleteness(state));
frames.on(["status"], () => {
  const { status, problems } = state;
  const isWell = status?.clickhouse?.ok && status.kafka?.ok && performance.now() - refusedAt > 10_000;
  if (isWell && problems.delete("stream")) frames.touch("problems");
  byId("simulated").hidden = !state.simulated;
  write(byId("version"), state.status?.version ? `tapehouse ${state.status.version}` : "");
});
frames.on(["connection"], () => paintConnection(state));
frames.on(["problems", "connection", "status"], paintNotice);
frames.on(["status", "latency", "connection", "view"], () => {
  if (!onStatus()) return;
  statusView.paintPipeline(state, measured);
  statusView.paintAbout(state, measured);
});
frames.on(["status", "view", "holes"], () => onStatus() && statusView.paintProducts(state));
frames.on(["hours", "view"], () => onStatus() && statusView.paintHeat(state));
frames.on(["holes", "view"], () => onStatus() && statusView.paintGaps(state));
frames.on(["feed", "view"], () => onStatus() && statusView.paintEvents(state));
frames.on(["tape", "price", "tickers"], () => {
  painted++;
  const received = state.unpainted.splice(0);
  const offset = stream.offset();
  if (received.length === 0 || offset === null) return;
  // A task that is queued in a frame runs after the frame was painted.
  setTimeout(() => {
    const now = performance.now() + offset;
    for (const micros of received) {
      if (micros / 1000 >= watchedSince + offset) screen.add(Math.max(0, now - micros / 1000));
    }
  });
});

/**
 * Snapshots, what is told again after a reconnect, and what came while the page was hidden are older than the way to the
 * screen is long: what was received before this moment is no sample of it.
 */
function watchFromNow(): void {
  state.unpainted = [];
  watchedSince = performance.now();
}

function currentHoles(): Hole[] {
  const now = nowMicros() / 1_000_000;
  const away = state.outages.map((outage) => outage.to === Infinity ? { ...outage, to: now } : outage);
  return [...holesOf(state.gaps, state.view.product), ...away];
}

function paintNotice(): void {
  const box = byId("notice");
  const text = noticeText();
  box.hidden = text === null;
  const [line, again] = box.children;
  if (line !== undefined) write(line, text ?? "");
  again?.toggleAttribute("hidden", text === state.problems.get("product"));
}

/** What a person must know before trusting the numbers; null when all is well. */
function noticeText(): string | null {
  const { connection, status, problems } = state;
  const away = problems.get("status") ?? problems.get("products");
  if (connection.state === "waiting") {
    const wait = Math.max(0, Math.ceil((connection.until - Date.now()) / 1000));
    const next = wait === 0 ? "Trying again…" : `Next try in ${wait} s.`;
    const why = connection.reason === "" ? "" : `: ${connection.reason}`;
    return [`The live stream is lost${why}. Prices stand still.`, away, next].filter(Boolean).join(" ");
  }
  if (away !== undefined) return away;
  if (status?.clickhouse?.ok === false) {
    const reason = (status.clickhouse.reason ?? "ClickHouse is away").replace(/\.$/, "");
    return `${reason}. Live prices go on; history and completeness don't.`;
  }
  return ["product", "stream", "history", "trades", "tickers"].map((part) => problems.get(part))
    .find((problem) => problem !== undefined) ?? null;
}

// ── input ───────────────────────────────────────────────────────────────────

for (const interval of intervals) {
  const button = make("button", "", interval);
  button.setAttribute("type", "button");
  button.addEventListener("click", () => show({ interval }));
  byId("intervals").append(button);
}
byId("interval-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("interval", HTMLInputElement);
  const interval = parseInterval(field.value);
  field.setCustomValidity(interval === null ? "A whole number and s, m, h, d or w, such as 90s or 36h" : "");
  if (interval === null) return void field.reportValidity();
  field.blur();
  show({ interval: interval.text });
});
byId("interval").addEventListener("input", () => byId("interval", HTMLInputElement).setCustomValidity(""));
const toggleFill = () => show({ fill: !state.view.fill });
const toggleTheme = () =>
  show({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" });
const openHelp = () => byId("shortcuts", HTMLDialogElement).showModal();
const openHoles = () => {
  paintHolesDialog(byId("holes-body"), state);
  byId("holes", HTMLDialogElement).showModal();
};
byId("fill").addEventListener("click", toggleFill);
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", openHelp);
byId("complete").addEventListener("click", openHoles);
byId("product").addEventListener("click", switcher.open);
byId("live").addEventListener("click", chart.goLive);
byId("notice").querySelector("button")?.addEventListener("click", () => {
  stream.reconnect();
  start();
});
for (const button of document.querySelectorAll<HTMLElement>(".views button")) {
  button.addEventListener(
    "click",
    () => show({ view: button.dataset.view === "status" ? "status" : "market" }),
  );
}
for (const button of byId("tabs").querySelectorAll("button")) {
  button.addEventListener("click", () => {
    if (onStatus()) show({ view: "market" });
    openTab(button.dataset.tab ?? "chart");
  });
}
for (const button of document.querySelectorAll<HTMLElement>("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog")?.close());
}
for (const dialog of document.querySelectorAll("dialog")) {
  // A click beside the dialog is a click on its backdrop.
  dialog.addEventListener(
    "click",
    ({ target }) => target === dialog && dialog.id !== "token" && dialog.close(),
  );
}
const zones = byId("zone", HTMLSelectElement);
for (const zone of new Set(["UTC", "local", state.view.zone, ...Intl.supportedValuesOf("timeZone")])) {
  zones.append(new Option(zone === "local" ? "Local time" : zone.replaceAll("_", " "), zone));
}
zones.addEventListener("change", () => show({ zone: zones.value }));
dark.addEventListener("change", applyTheme);
addEventListener("popstate", () => show(readView(location.search), "none"));
addEventListener("resize", () => frames.touch("book", "sparklines"));
addEventListener("online", () => stream.reconnect());

function step(by: number): void {
  const products = inOrder(state);
  const at = products.indexOf(state.view.product);
  const next = products[(at + by + products.length) % products.length];
  if (next !== undefined) show({ product: next });
}

function stepInterval(by: number): void {
  const next = intervals[Math.max(0, intervals.indexOf(intervalOf(state))) + by];
  if (next !== undefined) show({ interval: next });
}

listen([
  { keys: ["/", "Ctrl+k"], text: "Another product", run: switcher.open },
  { keys: ["j"], text: "Next product", run: () => step(1) },
  { keys: ["k"], text: "Product before", run: () => step(-1) },
  { keys: ["]"], text: "Longer interval", run: () => stepInterval(1) },
  { keys: ["["], text: "Shorter interval", run: () => stepInterval(-1) },
  { keys: ["i"], text: "Any interval", run: () => byId("interval").focus() },
  { keys: ["f"], text: "Fill intervals without trades", run: toggleFill },
  { keys: ["End"], text: "To the newest candle", run: chart.goLive },
  { keys: ["h"], text: "What is missing", run: openHoles },
  { keys: ["1"], text: "Market", run: () => show({ view: "market" }) },
  { keys: ["2"], text: "Pipeline", run: () => show({ view: "status" }) },
  { keys: ["t"], text: "Dark or light", run: toggleTheme },
  { keys: ["?"], text: "This help", run: openHelp },
], byId("shortcuts-body"));

// ── the clock ───────────────────────────────────────────────────────────────

/** The list of holes. Where some were filled, the candles there have changed. */
async function loadGaps(): Promise<void> {
  const missing = () => state.gaps.reduce((sum, gap) => sum + gap.missing, 0);
  const before = missing();
  await load.gaps();
  if (missing() < before) load.candles(addCandles);
}

let gapsTimer: ReturnType<typeof setTimeout> | undefined;

/** A hole was seen or filled: the list is asked for once it is stored, and once for many. */
function soonGaps(): void {
  clearTimeout(gapsTimer);
  gapsTimer = setTimeout(() => {
    loadGaps();
    load.status();
  }, 1_000);
}

let seen = 0;
let frame = 0;
let countedAt = performance.now();
setInterval(() => {
  const seconds = (performance.now() - countedAt) / 1000;
  measured.messages = Math.round((state.received - seen) / seconds);
  measured.frames = Math.round((painted - frame) / seconds);
  [seen, frame, countedAt] = [state.received, painted, performance.now()];
  measured.screen = screen.percentiles();
  measured.offset = stream.offset();
  const now = Date.now();
  write(
    byId("clock"),
    `${day(now, state.view.zone)} ${dateTime(now, state.view.zone).slice(11)} ${
      state.view.zone === "local" ? "" : state.view.zone
    }`,
  );
  write(
    byId("rate"),
    `${measured.messages.toLocaleString("en-US")} messages/s · ${measured.frames} frames/s`,
  );
  frames.touch("latency");
  if (state.connection.state === "waiting") frames.touch("problems");
  if (state.connection.state !== "open") return;
  const offset = stream.offset();
  if (offset !== null) chart.tick((performance.now() + offset) / 1000);
  if (state.outages.some(({ to }) => to === Infinity)) frames.touch("holes");
}, 1_000);
setInterval(() => {
  if (document.hidden) return;
  load.status();
  if (onStatus()) load.hours();
  if (state.problems.has("products")) retryProducts();
}, 5_000);
setInterval(() => document.hidden || loadGaps(), 15_000);
setInterval(() => document.hidden || load.sparklines(inOrder(state)), 60_000);

/** Without products nothing else was loaded: once they are there, the page starts anew. */
async function retryProducts(): Promise<void> {
  if (await load.products()) await start();
}

/** Loads what every view needs, then opens the product of the view. */
async function start(): Promise<void> {
  const status = load.status();
  if (onStatus()) load.hours();
  await Promise.all([load.products(), load.tickers()]);
  const known = inOrder(state);
  const { product } = state.view;
  if (product === "" && known[0] !== undefined) {
    state.view = { ...state.view, product: known[0] };
    history.replaceState(null, "", location.pathname + writeView(state.view));
  }
  if (state.view.product !== "" && state.view.interval === "" && !isUnknown()) await load.usualInterval();
  frames.touch("view", ...everything);
  if (state.view.product === "") cover(state.problems.get("products") ?? "No product is on this tape yet.");
  else startProduct();
  await Promise.all([status, loadGaps()]);
  await load.sparklines(known);
}

openTab("chart");
applyTheme();
chart.setZone(state.view.zone);
if (state.view.fill) chart.setFill(true);
frames.touch("view", "connection");
stream.connect();
await start();
