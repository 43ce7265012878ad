/**
 * The page in a real Chromium over a live simulated market: exchange → producer → Kafka → consumer → ClickHouse → api.ts →
 * screen. What is seen is compared with what the API says; pictures are left in tests/artifacts/.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Browser, Page } from "playwright-core";
import { sleep } from "../../lib/core/retry.ts";
import type { Candle, Gap } from "../../web/model/api_types.ts";
import { findChromium, launch } from "../support/chromium.ts";
import { startFakeApi } from "../support/fake_api.ts";
import { bundlePage, type LiveMarket, rollUp, withLiveMarket } from "../support/live_market.ts";
import { pixelsOf } from "../support/png.ts";
import { testUnless } from "../support/skip.ts";
import { root, type Servers, startServers } from "../support/tape.ts";
import { artifacts, withWatchedPage } from "../support/watched_page.ts";
import { until } from "../support/until.ts";

const found = await findChromium();
const skip = "reason" in found ? found : undefined;

let servers: Servers | undefined;
let browser: Browser | undefined;
Deno.test.beforeAll(async () => {
  if ("reason" in found) return;
  await Deno.mkdir(artifacts, { recursive: true });
  await bundlePage();
  browser = await launch(found);
  servers = await startServers();
});
Deno.test.afterAll(async () => {
  await browser?.close();
  await servers?.stop();
});

/** A page, and what it did that it mustn't. */
interface Screen {
  page: Page;
  /** The text of an element as it is seen, white space as one space; nothing of one that is hidden. */
  text(selector: string): Promise<string>;
  until(what: string, probe: () => Promise<boolean>): Promise<void>;
  picture(name: string): Promise<void>;
  /** Errors of the console and of the page so far; asking forgets them. */
  errors(): string[];
}

/** Opens `url` on a watched page. */
async function withScreen(
  url: string,
  body: (screen: Screen) => Promise<void>,
  viewport = { width: 1440, height: 900 },
): Promise<void> {
  await withWatchedPage(browser, url, { viewport, colorScheme: "dark" }, async (page, errors) => {
    const text = async (selector: string) => {
      const element = page.locator(selector);
      return await element.isVisible() ? (await element.innerText()).replace(/\s+/g, " ").trim() : "";
    };
    const picture = async (name: string) => {
      await page.screenshot({ path: `${artifacts}/${name}.png` });
    };
    await body({
      page,
      text,
      async until(what, probe) {
        const isSo = async () => {
          if (await probe()) return true;
          await nextFrame(page);
          return false;
        };
        await until(what, isSo, async () => {
          await picture("failed");
          return `tests/artifacts/failed.png; ${errors.join("; ")}`;
        });
      },
      picture,
      errors: () => errors.splice(0),
    });
  });
}

const nextFrame = (page: Page) =>
  page.evaluate("new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)))");

/** What the legend says of a candle; `volume` to the last digit, the rest as it is shown. */
interface Shown {
  title: string;
  time: string;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  trades: string;
}

async function legend(page: Page): Promise<Shown> {
  const { data, cells } = await page.locator("#legend").evaluate((box) => ({
    data: { ...box.dataset },
    cells: [...box.children].map((cell) => cell.lastChild?.textContent ?? ""),
  }));
  const [title = "", open = "", high = "", low = "", close = "", , , , trades = ""] = cells;
  return { title, time: data.time ?? "", open, high, low, close, volume: data.volume ?? "", trades };
}

/** Moves the pointer over the chart from right to left: the places that it meets, by time; one without a candle is left out. */
async function candlesInSight(page: Page): Promise<Map<string, Shown>> {
  const box = await page.locator("#chart").boundingBox();
  assert.ok(box);
  const seen = new Map<string, Shown>();
  for (let x = box.x + box.width - 80; x > box.x + 2; x -= 5) {
    await page.mouse.move(x, box.y + box.height / 2);
    await nextFrame(page);
    const shown = await legend(page);
    if (shown.time !== "") seen.set(shown.time, shown);
  }
  await page.mouse.move(box.x + 5, box.y - 60);
  return seen;
}

const seconds = (iso: string) => Date.parse(iso) / 1000;
const number = (text: string) => Number(text.replaceAll(",", ""));

/**
 * Each candle of the chart that has closed since `since` equals the API's, and none is missing.
 *
 * @param least waits until there are so many
 * @param reachingBack seconds: waits until there is a candle from before, which a page that has just come back loads first
 * @returns the seconds of the first and the last that were compared
 */
async function assertCandles(
  { page, until }: Screen,
  market: LiveMarket,
  product: string,
  interval: string,
  since: number,
  { least = 1, reachingBack = Infinity } = {},
): Promise<{ first: number; last: number }> {
  const step = Number.parseInt(interval);
  await until("candles", async () => (await legend(page)).time !== "");
  let seen: Awaited<ReturnType<typeof candlesInSight>> = new Map();
  let times: number[] = [];
  // A page that is behind may have none yet that is final.
  await until("final candles in sight", async () => {
    // Up to the newest candle of the page all is final, on the page and, once it is stored too, in the API.
    const newest = seconds((await legend(page)).time);
    await market.tape.until("the candles to be stored", async () =>
      Number(
        await market.tape.value(
          `SELECT toUnixTimestamp(max(time)) FROM trades WHERE product_id = '${product}' AND source != 'backfill'`,
        ),
      ) > newest);
    seen = await candlesInSight(page);
    times = [...seen.keys()].map(seconds).filter((time) => time >= since && time + step <= newest);
    return Math.min(...times) <= reachingBack && times.length >= least;
  });
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const rows = await market.list<Candle>(
    `ohlc?product_id=${product}&interval=${interval}&from=${first * 1e6}&to=${(last + step) * 1e6}`,
  );
  const compared = rows.map((row) => {
    const shown = seen.get(row.time);
    return shown && { ...shown, ...Object.fromEntries(prices.map((name) => [name, number(shown[name])])) };
  });
  assert.deepEqual(
    compared,
    rows.map(({ time, open, high, low, close, volume, trades }) => ({
      title: `${product} · ${interval}`,
      time,
      open: Number(open),
      high: Number(high),
      low: Number(low),
      close: Number(close),
      volume,
      trades: trades.toLocaleString("en-US"),
    })),
  );
  assert.equal(rows.length, times.length);
  return { first, last };
}

const prices = ["open", "high", "low", "close"] as const;

/** The interval's button that is pressed. */
const pressed = ({ page }: Screen) => page.locator("#intervals [aria-pressed=true]").innerText();
/** The last price, which is always seen. */
async function price({ text }: Screen): Promise<string> {
  const last = await text("#last");
  assert.match(last, /^[\d,]+\.\d\d$/);
  return last;
}

const isLive = async (screen: Screen) => await screen.text("#connection") === "Live";

function theServers(): Servers {
  assert.ok(servers);
  return servers;
}

const products = ["BTC-USD", "ETH-USD", "SOL-USD"];

testUnless(
  "page: a newcomer sees a living market, and it does what the address, mouse and keys say",
  skip,
  () =>
    withLiveMarket(theServers(), { products, rate: 120 }, async (market) => {
      await rollUp(market.tape);
      await withScreen(market.url, async (screen) => {
        const { page, text, until, picture } = screen;
        await until("candles", async () => (await legend(page)).time !== "");
        const opened = Math.ceil(Date.now() / 1000);
        assert.match(await text("#simulated"), /^simulated data not the exchange's prices/i);
        const product = await text("#product .name");
        assert.equal(page.url(), `${market.url}?product=${product}`);
        assert.equal(await pressed(screen), "1s", "a tape that has just begun is shown by the second");
        await picture("first-seconds");

        const prices = new Set<string>();
        await until("a price", async () => /\d/.test(await text("#last")));
        await until("four prices", async () => prices.add(await price(screen)).size >= 4);
        for (const hop of ["received", "stored", "screen"]) {
          await until(hop, async () => /^\d+ \/ \d+k? ms$/.test(await text(`#hop-${hop} dd`)));
        }
        await until("completeness", async () => await text("#complete .value") === "100.000 %");
        assert.match(await text("#complete .note"), /^nothing missing/);
        // Each begins when its own start has come.
        for (const list of ["#tape", "#ladder", "#markets"]) {
          await until(list, async () => /\d/.test(await text(list)));
        }

        await until("ten closed candles", async () => seconds((await legend(page)).time) > opened + 10);
        await assertCandles(screen, market, product, "1s", opened, { least: 10 });

        await page.locator("#markets button", { hasText: "ETH-USD" }).click();
        await until("ETH-USD", async () => (await legend(page)).title === "ETH-USD · 1s");
        await until("its candles", async () => (await legend(page)).time !== "");
        assert.equal(await text("#product .name"), "ETH-USD");
        assert.equal(new URL(page.url()).search, "?product=ETH-USD");
        assert.match(await text("#last"), /^\d,\d{3}\.\d\d$/);

        await page.keyboard.press("/");
        await page.keyboard.press("ArrowDown");
        await page.keyboard.press("ArrowDown");
        const chosen = await text("#found [aria-selected=true] b");
        await picture("switcher");
        await page.keyboard.press("Enter");
        await until(chosen, async () => (await legend(page)).title === `${chosen} · 1s`);
        assert.equal(await text("#product .name"), chosen);
        await page.keyboard.press("/");
        await page.keyboard.type("btc");
        await page.keyboard.press("Enter");
        await until("BTC-USD", async () => (await legend(page)).title === "BTC-USD · 1s");

        await page.locator("#intervals button", { hasText: /^5s$/ }).click();
        await until("candles of 5 s", async () => (await legend(page)).title === "BTC-USD · 5s");
        await until(
          "two closed candles of 5 s",
          async () => seconds((await legend(page)).time) >= opened + 15,
        );
        await assertCandles(screen, market, "BTC-USD", "5s", opened, { least: 2 });
        await page.keyboard.press("[");
        await until("1s", async () => await pressed(screen) === "1s");
        await page.keyboard.press("i");
        await page.keyboard.type("7s");
        await page.keyboard.press("Enter");
        await until("candles of 7 s", async () => (await legend(page)).title === "BTC-USD · 7s");
        await page.keyboard.press("t");
        await page.locator("#zone").selectOption("Asia/Tokyo");
        const address = new URL(page.url()).search;
        assert.equal(address, "?product=BTC-USD&interval=7s&theme=light&tz=Asia%2FTokyo");
        await until("candles", async () => (await legend(page)).time !== "");
        await picture("light");

        await page.reload();
        await until("the same view", async () => {
          const { title, time } = await legend(page);
          return title === "BTC-USD · 7s" && time !== "";
        });
        assert.equal(new URL(page.url()).search, address);
        assert.equal(await page.locator("html").getAttribute("data-theme"), "light");
        assert.equal(await page.locator("#interval").inputValue(), "7s");
        assert.equal(await page.locator("#zone").inputValue(), "Asia/Tokyo");

        await page.keyboard.press("2");
        await until(
          "the pipeline",
          async () => (await text("#status")).includes("26.7") && await isLive(screen),
        );
        await picture("pipeline");
        await page.goBack();
        await until("the market", () => page.locator("#market").isVisible());
      });

      const phone = { width: 390, height: 844 };
      await withScreen(market.url, async ({ page, until, picture }) => {
        await until("candles", async () => (await legend(page)).time !== "");
        const tabs = ["chart", "book", "tape", "markets", "events"];
        for (const tab of tabs) {
          await page.locator(`#tabs [data-tab=${tab}]`).click();
          await nextFrame(page);
          assert.equal(await widthOf(page), phone.width, tab);
          await picture(`phone-${tab}`);
        }
        await page.locator(".views [data-view=status]").click();
        await nextFrame(page);
        assert.equal(await widthOf(page), phone.width, "status");
        await picture("phone-status");
      }, phone);

      await withScreen(`${market.url}?product=NONE-USD`, async (screen) => {
        await screen.until(
          "the problem",
          async () => (await screen.text("#notice")).startsWith("NONE-USD isn't on this tape."),
        );
        await screen.until("the stream", () => isLive(screen));
        await screen.picture("unknown-product");
        await screen.page.locator("#markets button", { hasText: "SOL-USD" }).click();
        await screen.until("SOL-USD", async () => (await legend(screen.page)).time !== "");
        assert.equal(await screen.page.locator("#notice").isVisible(), false);
      });
    }),
);

const middle = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

/** How wide the page is, beyond the window too. */
const widthOf = (page: Page) => page.evaluate("document.documentElement.scrollWidth");

/** What the browser itself writes when a server isn't there. */
const unreachable =
  /net::ERR_CONNECTION_REFUSED|net::ERR_CONNECTION_RESET|net::ERR_EMPTY_RESPONSE|WebSocket connection to/;

testUnless(
  "page: when the API is killed and comes back, it says so, goes on, and its candles have no gap",
  skip,
  () =>
    withLiveMarket(
      theServers(),
      { products: ["BTC-USD"], rate: 80, simulated: false },
      (market) =>
        // Candles of 5 s: a busy machine needs longer for all this than a chart of seconds has in sight.
        withScreen(`${market.url}?interval=5s`, async (screen) => {
          const { page, text, until, picture, errors } = screen;
          await until("candles", async () => (await legend(page)).time !== "");
          assert.equal(await page.locator("#simulated").isVisible(), false);
          const opened = Math.ceil(Date.now() / 1000);
          assert.deepEqual(errors(), []);
          await until("a candle of the open page", async () => seconds((await legend(page)).time) > opened);
          const killed = Date.now() / 1000;
          market.api.kill();
          await market.api.exited;
          // A list that can't be read may be told before.
          await until(
            "the notice",
            async () => /^The live stream is lost.* Prices stand still\./.test(await text("#notice")),
          );
          await until(
            "the API to be tried again",
            async () => (await text("#notice")).includes("can't be reached"),
          );
          assert.equal(await text("#connection"), "Reconnecting");
          await picture("api-killed");

          await market.startApi();
          await until("the page to be live again", () => isLive(screen));
          await until("no notice", async () => !await page.locator("#notice").isVisible());
          const [before, then] = [await price(screen), Date.now() / 1000];
          await until("a new price", async () => await price(screen) !== before);
          await until("candles after that", async () => seconds((await legend(page)).time) > then + 5);
          assert.deepEqual(errors().filter((error) => !unreachable.test(error)), []);
          // Five seconds without a trade have no candle: what is compared reaches over the whole time that the API was away.
          const { first, last } = await assertCandles(screen, market, "BTC-USD", "5s", opened, {
            reachingBack: killed,
          });
          assert.ok(first <= killed && last > then, `${first} to ${last}, away from ${killed} to ${then}`);
          await picture("api-back");
        }),
    ),
);

testUnless(
  "page: missing trades are a gap on the screen, and filled they are candles",
  skip,
  () =>
    withLiveMarket(
      theServers(),
      { products: ["BTC-USD", "ETH-USD"], rate: 100 },
      (market) =>
        // Of 5 s, as above.
        withScreen(`${market.url}?product=BTC-USD&interval=5s`, async (screen) => {
          const { page, text, until, picture } = screen;
          await until("candles", async () => (await legend(page)).time !== "");
          await until("completeness", async () => await text("#complete .value") === "100.000 %");
          const opened = Math.ceil(Date.now() / 1000);
          assert.equal(await page.locator("#chart").getAttribute("data-gaps"), "0");
          const bare = await hatched(page);
          market.exchange.faults.inject({ swallowTrades: 400 });
          await until("a gap", async () => await page.locator("#chart").getAttribute("data-gaps") === "1");
          await until("its strip on the time axis", async () => await hatched(page) > 10);
          await until("the verdict", async () => /^\d\d\.\d{3} %$/.test(await text("#complete .value")));
          await until("the number", async () => {
            // A heartbeat shows the beginning of a gap before its end is there.
            const gaps = await market.list<Gap>("gaps?product_id=BTC-USD");
            const missing = gaps.reduce((sum, gap) => sum + gap.missing, 0);
            return missing > 50 && (await text("#complete .note")).startsWith(`${missing} missing · 1 gap`);
          });
          await picture("gap");
          assert.equal(bare, 0);
          await page.keyboard.press("h");
          await picture("gap-dialog");
          await page.keyboard.press("Escape");

          await market.tape.start("backfill", { BACKFILL_INTERVAL_SECONDS: "1" }, ["--watch"]);
          await until("no gap", async () => await page.locator("#chart").getAttribute("data-gaps") === "0");
          await until("completeness", async () => await text("#complete .value") === "100.000 %");
          assert.match(await text("#complete .note"), /^nothing missing/);
          assert.equal(await hatched(page), 0);
          await market.tape.until(
            "nothing to be missing",
            async () => await market.tape.value("SELECT count() FROM trade_gaps") === "0",
          );
          await assertCandles(screen, market, "BTC-USD", "5s", opened, { least: 6 });
          await picture("gap-filled");
        }),
    ),
);

/** Pixels in the colour of gaps on the time axis: the strip below the chart, as it was painted. */
async function hatched(page: Page): Promise<number> {
  const box = await page.locator("#chart").boundingBox();
  assert.ok(box);
  const clip = { x: box.x, y: box.y + box.height - 30, width: box.width, height: 10 };
  return pixelsOf(await page.screenshot({ clip })).filter(([red, green, blue]) =>
    // Amber; nothing else there is.
    red > 180 && green > 120 && green < red - 30 && blue < 110
  ).length;
}

testUnless(
  "page: when ClickHouse is killed, it says what is wrong, and the stream goes on",
  skip,
  () =>
    withLiveMarket(
      theServers(),
      { products: ["BTC-USD"], rate: 100 },
      (market) =>
        withScreen(`${market.url}?interval=1s`, async (screen) => {
          const { page, text, until, picture, errors } = screen;
          await until("candles", async () => (await legend(page)).time !== "");
          // Those of the stream, which begin with what ClickHouse has.
          const opened = seconds((await legend(page)).time);
          await until("the stream's candles", async () => seconds((await legend(page)).time) > opened + 2);
          assert.deepEqual(errors(), []);
          const { clickhouse } = theServers();
          clickhouse.kill();
          await clickhouse.exited;
          try {
            await until(
              "the notice",
              async () =>
                (await text("#notice")).includes("Live prices go on; history and completeness don't."),
            );
            assert.match(await text("#notice"), /ClickHouse/);
            const [before, { time }] = [await price(screen), await legend(page)];
            await until("another price", async () => await price(screen) !== before);
            await until("another candle", async () => seconds((await legend(page)).time) > seconds(time));
            assert.equal(await text("#connection"), "Live");
            await picture("clickhouse-killed");
          } finally {
            await theServers().startClickHouse();
          }
          await until("no notice", async () => !await page.locator("#notice").isVisible());
          await until("freshness", async () => /\d/.test(await text("#hop-stored dd")));
          // The browser writes down each answer 503; that is no error of the page.
          assert.deepEqual(errors().filter((error) => !/status of 503/.test(error)), []);
        }),
    ),
);

testUnless(
  "page: the time from the producer's receipt to the screen is measured at 2,000 messages/s",
  skip,
  () =>
    withLiveMarket(
      theServers(),
      { products: ["BTC-USD", "ETH-USD"], rate: 2000 },
      (market) =>
        withScreen(`${market.url}?product=BTC-USD`, async ({ page, text, until }) => {
          const seen: { p50: number; p99: number; messages: number }[] = [];
          const begun = performance.now();
          let last = "";
          await until("ten seconds after a warm-up of ten", async () => {
            const rate = await text("#rate");
            const { p50, p99 } = await page.locator("#hop-screen").evaluate((box) => ({ ...box.dataset }));
            const reading = `${rate} ${p50} ${p99}`;
            if (reading !== last && performance.now() - begun > 10_000 && p50) {
              seen.push({ p50: Number(p50), p99: Number(p99), messages: number(rate.split(" ")[0] ?? "") });
            }
            last = reading;
            return performance.now() - begun > 22_000 && seen.length >= 10;
          });
          const worst = Math.max(...seen.map(({ p99 }) => p99));
          console.log(
            `received → screen: p50 ${middle(seen.map(({ p50 }) => p50)).toFixed(0)} ms, p99 ${
              middle(seen.map(({ p99 }) => p99)).toFixed(0)
            } ms (the middle of ${seen.length} readings a second apart, the worst p99 ${
              worst.toFixed(0)
            } ms) at ${middle(seen.map(({ messages }) => messages))} messages/s on the page`,
          );
          for (const { p50, p99 } of seen) assert.ok(0 < p50 && p50 <= p99, `p50 ${p50}, p99 ${p99}`);
          // The page has kept up: when nothing more comes, it shows the newest trade that is stored.
          market.exchange.faults.inject({ silenceSeconds: 3600 });
          let newest = "";
          await market.tape.until("the last trade to be stored", async () => {
            const before = newest;
            newest = await market.tape.value(
              "SELECT toString(argMax((trade_id, toString(price)), trade_id)) FROM trades WHERE product_id = 'BTC-USD'",
            );
            await market.tape.untilRead();
            return newest === before;
          });
          const price = Number(/'([\d.]+)'/.exec(newest)?.[1]);
          await until("its price", async () => number(await text("#last")) === price);
        }),
    ),
);

/** Runs in the page. */
const countFrames = `new Promise((resolve) => {
  const begun = performance.now();
  let [frames, longest, before, changes] = [0, 0, begun, 0];
  new MutationObserver((records) => changes += records.length).observe(document.querySelector("#last"), {
    subtree: true,
    childList: true,
    characterData: true,
  });
  requestAnimationFrame(function count(now) {
    frames++;
    longest = Math.max(longest, now - before);
    before = now;
    if (now - begun < 10_000) requestAnimationFrame(count);
    else resolve({ frames, rate: frames / (now - begun) * 1000, longest, changes });
  });
})`;

testUnless("page: at 1,000 updates/s the price is painted once a frame at most", skip, async () => {
  const api = startFakeApi({ dist: `${root}web/dist`, rate: 4000 });
  try {
    await withScreen(`${api.url}?product=BTC-USD`, async ({ page, text, until }) => {
      await until("candles", async () => (await legend(page)).time !== "");
      await until(
        "a thousand messages/s",
        async () => number((await text("#rate")).split(" ")[0] ?? "") >= 1000,
      );
      // Frames that the browser made in ten seconds, and the longest time between two of them.
      const counting = page.evaluate<Record<"frames" | "rate" | "longest" | "changes", number>>(countFrames);
      const rates: number[] = [];
      for (let second = 0; second < 10; second++) {
        await sleep(1000);
        rates.push(number((await text("#rate")).split(" ")[0] ?? ""));
      }
      const { frames, rate, longest, changes } = await counting;
      console.log(
        `${rate.toFixed(1)} frames/s at ${middle(rates)} messages/s; the longest frame took ${
          longest.toFixed(0)
        } ms`,
      );
      // However many messages come, the price is painted once a frame at most: its text goes and comes.
      assert.ok(0 < changes && changes <= 2 * frames, `${changes} changes of the price in ${frames} frames`);
    });
  } finally {
    await api.close();
  }
});
