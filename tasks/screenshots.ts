/**
 * `deno task screenshots`: the pictures of docs/images, taken of the page over a simulated market with two hours of
 * history, of which one product lacks a few minutes. The market is the same each time, at another moment of it.
 *
 * @module
 */

import type { Browser } from "playwright-core";
import { sleep } from "../lib/core/retry.ts";
import { runTask } from "../lib/process/task.ts";
import { FatalError } from "../lib/core/errors.ts";
import { findChromium, launch } from "../tests/support/chromium.ts";
import { bundlePage, rollUp, runTool, withLiveMarket } from "../tests/support/live_market.ts";
import { root, startServers, type Tape } from "../tests/support/tape.ts";

const images = `${root}docs/images`;
const products = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "DOGE-USD", "LTC-USD", "LINK-USD", "ADA-USD"];
/** Of this one some minutes are missing. */
const withGap = "ETH-USD";
const largestBytes = 400_000;

interface Picture {
  name: string;
  search: string;
  viewport: { width: number; height: number };
}

const desktop = { width: 1440, height: 900 };
const pictures: Picture[] = [
  { name: "page-dark", search: "?product=BTC-USD&interval=1m&theme=dark", viewport: desktop },
  { name: "page-light", search: `?product=${withGap}&interval=1m&theme=light`, viewport: desktop },
  { name: "pipeline", search: "?product=BTC-USD&view=status&theme=dark", viewport: desktop },
  { name: "phone", search: "?product=BTC-USD&interval=1m&theme=dark", viewport: { width: 390, height: 844 } },
];

await runTask(async () => {
  const chromium = await findChromium();
  if ("reason" in chromium) throw new FatalError(chromium.reason);
  await bundlePage();
  await Deno.mkdir(images, { recursive: true });
  const servers = await startServers();
  try {
    await withLiveMarket(servers, { products, rate: 120 }, async ({ tape, url }) => {
      console.log("the market runs; its last two hours are fetched");
      for (const product of products) await fetchHistory(tape, product);
      await rollUp(tape);
      const browser = await launch(chromium);
      try {
        for (const picture of pictures) await takePicture(browser, url, picture);
      } finally {
        await browser.close();
      }
    });
  } finally {
    await servers.stop();
  }
});

/** Two hours up to what is stored already. */
async function fetchHistory(tape: Tape, product: string): Promise<void> {
  const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
  const ranges = product === withGap
    ? [["--from", ago(120), "--to", ago(44)], ["--from", ago(37)]]
    : [["--from", ago(120)]];
  // The newest first: each range touches what is stored, or leaves the gap that is wanted.
  for (const range of ranges.reverse()) {
    await runTool(tape, "backfill", "backfill.ts", "--product", product, ...range);
  }
}

async function takePicture(
  browser: Browser,
  url: string,
  { name, search, viewport }: Picture,
): Promise<void> {
  const context = await browser.newContext({ viewport });
  const page = await context.newPage();
  await page.goto(`${url}${search}`);
  await page.locator("#hop-screen:is(.up, .warn, .down)").waitFor();
  // Percentiles of a few seconds say more than those of the first messages.
  await sleep(8_000);
  const png = await page.screenshot();
  await context.close();
  if (png.length > largestBytes) {
    throw new FatalError(`${name}.png has ${png.length} bytes, more than ${largestBytes}`);
  }
  await Deno.writeFile(`${images}/${name}.png`, png);
  console.log(`docs/images/${name}.png: ${Math.round(png.length / 1000)} kB`);
}
