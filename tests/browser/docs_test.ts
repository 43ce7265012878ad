/**
 * `/docs` in a real Chromium, served by the API over a database with known contents.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Browser, Page } from "playwright-core";
import { type Fixture, type FixtureServer, openFixture, startFixtureServer } from "../support/api_fixture.ts";
import { findChromium, launch } from "../support/chromium.ts";
import { bundlePage } from "../support/live_market.ts";
import { testUnless } from "../support/skip.ts";
import { root } from "../support/tape.ts";
import { artifacts, withWatchedPage } from "../support/watched_page.ts";
import { until } from "../support/until.ts";

const found = await findChromium();
const skip = "reason" in found ? found : undefined;
const token = "a-token-of-some-length";

let server: FixtureServer | undefined;
let fixture: Fixture;
let browser: Browser | undefined;
Deno.test.beforeAll(async () => {
  if ("reason" in found) return;
  await Deno.mkdir(artifacts, { recursive: true });
  await bundlePage();
  browser = await launch(found);
  server = await startFixtureServer();
  fixture = await openFixture(server);
});
Deno.test.afterAll(async () => {
  await browser?.close();
  await fixture?.close();
  await server?.stop();
});

/** Opens `/docs` on a watched page. */
async function withDocs(
  options: { tokens?: string[]; address?: string; colorScheme?: "dark" | "light" },
  body: (page: Page) => Promise<void>,
): Promise<void> {
  const { tokens = [], address = "docs", colorScheme = "dark" } = options;
  const api = fixture.fetch({ tokens, pageFolder: new URL(`file://${root}web/dist/`) });
  const listener = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => api(request, "127.0.0.1"),
  );
  const url = `http://127.0.0.1:${listener.addr.port}/${address}`;
  try {
    await withWatchedPage(
      browser,
      url,
      { viewport: { width: 1200, height: 900 }, colorScheme },
      async (page) => {
        await page.locator("html[data-ready]").waitFor({ state: "attached" });
        await body(page);
      },
    );
  } finally {
    await listener.shutdown();
  }
}

const operations = (page: Page) => page.locator(".opblock-summary-path").allInnerTexts();
/** Until a search has left one route; the page's policy lets no test wait in it by `eval`. */
async function onlyOne(page: Page): Promise<void> {
  await until(
    "one route",
    async () => await page.locator(".opblock").count() === 1,
    async () => `${await operations(page)} are left`,
  );
}

const background = (page: Page) =>
  page.evaluate("getComputedStyle(document.documentElement).backgroundColor");

testUnless(
  "docs: every route is there, a search finds one, and a tried request is answered",
  skip,
  async () => {
    await withDocs({}, async (page) => {
      const document = await (await page.request.get(page.url().replace("docs", "openapi.json"))).json();
      const paths = (await operations(page)).map((path) => path.replaceAll("\u200b", ""));
      assert.deepEqual(paths, Object.keys(document.paths));
      await page.screenshot({ path: `${artifacts}/docs-dark.png` });

      const search = page.locator("#search");
      await search.fill("candles inter");
      await onlyOne(page);
      assert.deepEqual(await operations(page), ["/api/ohlc"]);
      await search.fill("nothing at all");
      await page.locator("#nothing:not([hidden])").waitFor();
      await search.fill("TRADE id each once");
      await onlyOne(page);

      await page.locator(".opblock-summary-control").click();
      await page.getByRole("button", { name: "Try it out" }).click();
      await page.getByRole("button", { name: "Execute" }).click();
      const answer = page.locator(".live-responses-table .response").first();
      assert.match(await answer.locator(".response-col_status").innerText(), /^200/);
      assert.match(await answer.innerText(), /"trade_id": 240/);
      await page.screenshot({ path: `${artifacts}/docs-tried.png`, fullPage: true });
    });
  },
);

testUnless("docs: the theme is the page's, the system's where none is chosen", skip, async () => {
  const seen: unknown[] = [];
  await withDocs({ colorScheme: "dark" }, async (page) => {
    seen.push(await background(page));
    await page.locator("#theme").click();
    seen.push(await background(page));
    assert.match(page.url(), /theme=light/);
  });
  await withDocs({ colorScheme: "light" }, async (page) => {
    seen.push(await background(page));
    await page.screenshot({ path: `${artifacts}/docs-light.png` });
  });
  await withDocs({ colorScheme: "light", address: "docs?theme=dark" }, async (page) => {
    seen.push(await background(page));
  });
  const [dark, light] = ["rgb(10, 13, 18)", "rgb(236, 239, 243)"];
  assert.deepEqual(seen, [dark, light, light, dark]);
});

testUnless("docs: nobody needs a token to read them; a request takes that of the page", skip, async () => {
  await withDocs({ tokens: [token] }, async (page) => {
    assert.ok((await operations(page)).length > 10);
    await page.evaluate(`sessionStorage.setItem("tapehouse token", "${token}")`);
    await page.reload();
    await page.locator("html[data-ready]").waitFor({ state: "attached" });
    await page.locator("#search").fill("api/status");
    await onlyOne(page);
    await page.locator(".opblock-summary-control").click();
    await page.getByRole("button", { name: "Try it out" }).click();
    await page.getByRole("button", { name: "Execute" }).click();
    const status = page.locator(".live-responses-table .response .response-col_status").first();
    assert.match(await status.innerText(), /^200/);
  });
});

testUnless("docs: a problem's address leads to its line", skip, async () => {
  await withDocs({ address: "docs#over-limit" }, async (page) => {
    assert.match(await page.locator("tr:target").innerText(), /422/);
  });
});
