/**
 * What a page of another site, open in a real Chromium, can do to the servers on loopback: nothing. It knows all that such
 * a page could know, the password too, and sends its statements in every way that a browser has.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Browser } from "playwright-core";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { findChromium, launch } from "../support/chromium.ts";
import { testUnless } from "../support/skip.ts";

const found = await findChromium();
const skip = "reason" in found ? found : undefined;

/** Each way to send a statement by GET or POST; `u` is its address. All end when the browser has an answer. */
const ways = {
  image: "await settled('img', (e) => e.src = u)",
  script: "await settled('script', (e) => e.src = u)",
  style: "await settled('link', (e) => Object.assign(e, { rel: 'stylesheet', href: u }))",
  frame: "await settled('iframe', (e) => e.src = u)",
  object: "await settled('object', (e) => e.data = u)",
  video: "await settled('video', (e) => Object.assign(e, { src: u, onloadedmetadata: e.onload }))",
  formGet: "await form(u, 'GET', '')",
  formText: "await form(u, 'POST', 'text/plain')",
  formMultipart: "await form(u, 'POST', 'multipart/form-data')",
  formUrlencoded: "await form(u, 'POST', 'application/x-www-form-urlencoded')",
  noCorsGet: "await fetch(u, { mode: 'no-cors' })",
  noCorsPost: "await fetch(u, { mode: 'no-cors', method: 'POST', body: ' ' })",
  noReferrer: "await fetch(u, { mode: 'no-cors', method: 'POST', body: ' ', referrerPolicy: 'no-referrer' })",
  cors: "await fetch(u).catch(() => {})",
  corsPost: "await fetch(u, { method: 'POST', body: ' ' }).catch(() => {})",
  beacon: "navigator.sendBeacon(u, ' ')",
  sandboxed: "await sandbox(`fetch('${u}', { mode: 'no-cors', method: 'POST', body: ' ' })`)",
  sandboxedForm:
    "await sandbox(`document.write('<form method=POST action=\"${u}\">'); document.forms[0].submit()`)",
};

const tools = `
  const settled = (tag, set) => new Promise((done) => {
    const element = document.createElement(tag);
    element.onload = element.onerror = done;
    // A server that gives in may answer with a download, which ends in no event.
    setTimeout(done, 5000);
    set(element);
    document.body.append(element);
  });
  const form = (action, method, enctype) => settled('iframe', (frame) => {
    frame.name = crypto.randomUUID?.() ?? String(Math.random());
    const form = document.createElement('form');
    Object.assign(form, { action, method, enctype, target: frame.name });
    // A form that is sent by GET replaces the query of its address.
    for (const [name, value] of new URL(action).searchParams) {
      const input = document.createElement('input');
      Object.assign(input, { name, value });
      if (method === 'GET') form.append(input);
    }
    document.body.append(form);
    setTimeout(() => form.submit());
  });
  const sandbox = (code) => settled('iframe', (frame) => {
    frame.sandbox = 'allow-scripts allow-forms';
    frame.srcdoc = '<body><script>' + code + '<\\/script>';
  });`;

testUnless(
  "foreign page: it writes no file, reaches no address and changes no table",
  skip,
  async () => {
    assert(!("reason" in found));
    const home = await Deno.makeTempDir({ prefix: "tapehouse-page-" });
    const heard: string[] = [];
    const sink = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      heard.push(new URL(request.url).pathname);
      return new Response("x\n");
    });
    const site = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("<!doctype html><body>", { headers: { "content-type": "text/html" } }),
    );
    const server = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
    const exchange = await startExchange({ source: createSimulation({ rate: 10 }) });
    let browser: Browser | undefined;
    try {
      // Names of no loopback, on this machine all the same.
      browser = await launch(found, ["--host-resolver-rules=MAP *.example 127.0.0.1"]);
      const ask = async (body: string) =>
        (await fetch(server.url, { method: "POST", headers: server.headers, body })).text();
      assert.equal(await ask("CREATE TABLE default.victim (a UInt8) ENGINE = MergeTree ORDER BY a"), "");
      /** Statements that leave a trace named after the way by which they came. */
      const statements = (way: string) => [
        `INSERT INTO FUNCTION file('${home}/${way}.csv', 'TSVRaw', 'a String') SELECT 'x'`,
        `SELECT * FROM url('http://127.0.0.1:${sink.addr.port}/${way}', 'LineAsString')`,
        "INSERT INTO default.victim SELECT 1",
        "DROP TABLE default.victim",
      ];
      const page = await browser.newPage();
      const refusals: string[] = [];
      const statuses = new Map<string, number | string>();
      const note = (url: string, status: number | string) => {
        const id = new URL(url).searchParams.get("query_id");
        if (id !== null && !statuses.has(id)) statuses.set(id, status);
      };
      page.on("response", (response) => note(response.url(), response.status()));
      page.on("requestfailed", (request) => note(request.url(), request.failure()?.errorText ?? ""));
      const password = server.env.CLICKHOUSE_PASSWORD;
      const address = (statement: string, id: string, login: boolean, base = server.url) =>
        `${base}/?query_id=${id}&query=${encodeURIComponent(statement).replaceAll("'", "%27")}${
          login ? `&user=default&password=${encodeURIComponent(password)}` : ""
        }`;
      await page.goto(`http://attacker.example:${site.addr.port}/`);
      const expected: string[] = [];
      for (const [way, code] of Object.entries(ways)) {
        for (const login of [true, false]) {
          for (const [index, statement] of statements(way).entries()) {
            const id = `${way}-${login}-${index}`;
            expected.push(id);
            const u = address(statement, id, login);
            await page.evaluate(`(async () => { ${tools} const u = ${JSON.stringify(u)}; ${code}; })()`);
          }
        }
      }
      for (const login of [true, false]) {
        for (const [index, statement] of statements("link").entries()) {
          const id = `link-${login}-${index}`;
          expected.push(id);
          const answered = page.waitForURL((url) => url.searchParams.get("query_id") === id);
          const u = JSON.stringify(address(statement, id, login));
          await page.evaluate(
            `document.body.append(Object.assign(document.createElement("a"), { id: "link", href: ${u} })); link.click()`,
          );
          await answered.catch(() => {});
          await page.goto(`http://attacker.example:${site.addr.port}/`);
        }
      }
      // What was sent and not awaited (a beacon, a sandbox's fetch) has been answered, too.
      const hangsAt = performance.now() + 20_000;
      while (expected.some((id) => !statuses.has(id)) && performance.now() < hangsAt) {
        await new Promise((done) => setTimeout(done, 50));
      }
      // The exchange's socket and its faults, from the same page.
      const socket = await page.evaluate((url) =>
        new Promise((done) => {
          const socket = new WebSocket(url);
          socket.onopen = () => done("open");
          socket.onerror = () => done("refused");
        }), exchange.wsUrl);

      // A name that was bent to this machine makes the page one of the same origin.
      const base = `http://rebound.example:${new URL(server.url).port}`;
      for (const [index, statement] of statements("rebound").entries()) {
        const u = address(statement, `rebound-${index}`, true, base);
        await page.goto(u);
        refusals.push(await page.innerText("body"));
        // The refusal is a page of that origin, and sends a form to it.
        const posted = page.waitForURL((url) => url.searchParams.has("posted"));
        await page.evaluate(`{
          const form = document.createElement("form");
          Object.assign(form, { method: "POST", action: ${JSON.stringify(`${u}&posted`)} });
          document.body.append(form);
          form.submit();
        }`);
        await posted;
        refusals.push(await page.innerText("body"));
      }

      const files = [...Deno.readDirSync(home)].map(({ name }) => name).filter((name) =>
        name.endsWith(".csv")
      );
      assert.deepEqual(files, []);
      assert.deepEqual(heard, []);
      assert.equal(await ask("SELECT count() FROM default.victim"), "0\n");
      // All of it did arrive, and was refused.
      assert.equal(socket, "refused");
      for (const answer of refusals) assert.match(answer, /^Code: 497\. /);
      for (const id of expected) {
        // No header of the refusal lets the page read it.
        assert.equal(statuses.get(id), id.startsWith("cors") ? "net::ERR_FAILED" : 403, id);
      }
    } finally {
      await browser?.close();
      await exchange.stop();
      await server.stop();
      await Promise.all([sink.shutdown(), site.shutdown()]);
      await Deno.remove(home, { recursive: true });
    }
  },
);
