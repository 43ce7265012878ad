/**
 * `deno task bench page`: how long a trade takes from the producer's receipt to the pixels of a real Chromium, and how
 * many frames a second the page paints meanwhile.
 *
 * @module
 */

import type { Browser } from "playwright-core";
import { kafkaVersion } from "../embedded/kafka/install.ts";
import { FatalError } from "../lib/core/errors.ts";
import { sleep } from "../lib/core/retry.ts";
import { findChromium, launch } from "../tests/support/chromium.ts";
import { bundlePage, withLiveMarket } from "../tests/support/live_market.ts";
import { type Servers, startServers } from "../tests/support/tape.ts";
import { engineVersion, type Measured, quantile, type Row } from "./results.ts";

/** Counts, in the page, the frames of ten seconds and the longest time between two of them. */
const countFrames = `new Promise((resolve) => requestAnimationFrame((begun) => {
  let [frames, longest, before] = [0, 0, begun];
  requestAnimationFrame(function count(at) {
    frames++;
    longest = Math.max(longest, at - before);
    before = at;
    if (at - begun < 10_000) requestAnimationFrame(count);
    else resolve({ rate: frames / (at - begun) * 1000, longest });
  });
}))`;

/**
 * @param rate messages a second of the simulated exchange
 * @param seconds how long the page is read, once a second, after a warm-up of ten seconds
 * @throws {FatalError} when this machine has no Chromium
 */
export async function benchPage(rate: number, seconds: number): Promise<Measured> {
  const chromium = await findChromium();
  if ("reason" in chromium) throw new FatalError(chromium.reason);
  await bundlePage();
  const servers = await startServers();
  try {
    const browser = await launch(chromium);
    try {
      return await readPage(servers, browser, rate, seconds);
    } finally {
      await browser.close();
    }
  } finally {
    await servers.stop();
  }
}

async function readPage(
  servers: Servers,
  browser: Browser,
  rate: number,
  seconds: number,
): Promise<Measured> {
  const rows: Row[] = [];
  const versions: Record<string, string> = {
    "Apache Kafka": kafkaVersion,
    Chromium: browser.version(),
  };
  await withLiveMarket(servers, { products: ["BTC-USD", "ETH-USD"], rate }, async ({ url, tape }) => {
    versions.ClickHouse = await engineVersion(tape.clickhouse);
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    await page.goto(`${url}?product=BTC-USD`);
    await page.locator("#hop-screen:is(.up, .warn, .down)").waitFor();
    await sleep(10_000);
    const readings: Record<"p50" | "p99" | "messages", number>[] = [];
    for (let second = 0; second < seconds; second++) {
      await sleep(1000);
      const { p50, p99 } = await page.locator("#hop-screen").evaluate((box) => ({ ...box.dataset }));
      const messages = Number.parseInt((await page.locator("#rate").innerText()).replaceAll(",", ""));
      readings.push({ p50: Number(p50), p99: Number(p99), messages });
    }
    const frames = await page.evaluate<{ rate: number; longest: number }>(countFrames);
    const of = (name: "p50" | "p99" | "messages", share: number) =>
      Math.round(quantile(readings.map((reading) => reading[name]), share));
    rows.push({
      "messages/s on the page": of("messages", 0.5),
      "received → pixel p50, ms": of("p50", 0.5),
      "p99, ms": of("p99", 0.5),
      "worst p99, ms": of("p99", 1),
      "frames/s": Math.round(frames.rate * 10) / 10,
      "longest frame, ms": Math.round(frames.longest),
    });
  });
  return { versions, tables: { page: rows } };
}
