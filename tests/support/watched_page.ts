/**
 * A page in a browser that is watched: it may complain of nothing and ask no host but its own.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { root } from "./tape.ts";

/** Where browser tests leave their pictures. */
export const artifacts = `${root}tests/artifacts`;

/**
 * Opens `url` in a context of its own; in the end nothing was complained of, and no other host was asked.
 *
 * @param body is also given the errors of the console and of the page so far; what it takes out is forgiven
 */
export async function withWatchedPage(
  browser: Browser | undefined,
  url: string,
  options: BrowserContextOptions,
  body: (page: Page, errors: string[]) => Promise<void>,
): Promise<void> {
  assert.ok(browser);
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors: string[] = [];
  const hosts = new Set<string>();
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => {
    // Pictures that stand in a style sheet have none.
    if (!request.url().startsWith("data:")) hosts.add(new URL(request.url()).host);
  });
  page.on("websocket", (socket) => hosts.add(new URL(socket.url()).host));
  try {
    await page.goto(url);
    await body(page, errors);
    assert.deepEqual(errors, []);
    assert.deepEqual([...hosts], [new URL(url).host]);
  } finally {
    await context.close();
  }
}
