import assert from "node:assert/strict";
import { createRest, problemText, retryAfterMs } from "./api_client.ts";

Deno.test("API client: an error of the API is the problem's own text", () => {
  const problem = {
    type: "about:blank",
    title: "Unknown interval",
    status: 400,
    detail: "interval 9y: expected 1m",
  };
  assert.equal(problemText(400, JSON.stringify(problem)), "Unknown interval: interval 9y: expected 1m");
  assert.equal(problemText(502, "<html>"), "The API answered with status 502.");
});

Deno.test("API client: a request without a token asks for one and is sent again with it", async () => {
  let token: string | null = null;
  const sent: (string | null)[] = [];
  const rest = createRest({
    token: () => token,
    askToken: () => {
      token = "secret";
      return Promise.resolve();
    },
    fetch: (_address, init) => {
      const given = new Headers(init?.headers).get("authorization");
      sent.push(given);
      return Promise.resolve(new Response(`{"data":[],"next":null}`, { status: given === null ? 401 : 200 }));
    },
  });
  assert.deepEqual(await rest.list("/api/products"), { data: [], next: null });
  assert.deepEqual(sent, [null, "Bearer secret"]);
});

Deno.test("API client: an API that can't be reached is said so, and parameters that are undefined are left out", async () => {
  let asked = "";
  const rest = createRest({
    token: () => null,
    askToken: () => Promise.reject(new Error("not asked")),
    fetch: (address) => {
      asked = String(address);
      return Promise.reject(new TypeError("fetch failed"));
    },
  });
  await assert.rejects(rest.get("/api/ohlc", { product_id: "A-B", cursor: undefined, limit: 5 }), {
    name: "ApiError",
    message: "The API can't be reached.",
  });
  assert.equal(asked, "/api/ohlc?product_id=A-B&limit=5");
});

Deno.test("API client: to be asked for a token uses up none of the waits", async () => {
  const answers = [401, 429, 429, 429, 200];
  let token = 0;
  let waits = 0;
  const rest = createRest({
    token: () => String(token),
    askToken: () => Promise.resolve(void token++),
    fetch: () => Promise.resolve(new Response("{}", { status: answers.shift() ?? 500 })),
    wait: () => Promise.resolve(void waits++),
  });
  assert.deepEqual(await rest.get("/api/status"), {});
  assert.deepEqual([token, waits], [1, 3]);
});

Deno.test("API client: a client that is told to come later comes later, a few times", async () => {
  const waits: number[] = [];
  let answers = [429, 429, 200];
  const rest = createRest({
    token: () => null,
    askToken: () => Promise.reject(new Error("not asked")),
    fetch: () =>
      Promise.resolve(
        new Response('{"detail":"too many"}', {
          status: answers.shift() ?? 429,
          headers: { "retry-after": String(waits.length + 2) },
        }),
      ),
    wait: (ms) => {
      waits.push(ms);
      return Promise.resolve();
    },
  });
  await rest.get("/api/status");
  assert.deepEqual(waits, [2000, 3000]);
  answers = [];
  await assert.rejects(rest.get("/api/status"), { name: "ApiError", message: "too many" });
  assert.equal(waits.length, 5);
  assert.deepEqual(["7", "0", "600", "soon", null].map(retryAfterMs), [7000, 500, 10_000, 1000, 1000]);
});
