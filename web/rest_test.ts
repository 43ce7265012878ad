import assert from "node:assert/strict";
import { createRest, problemText } from "./rest.ts";

Deno.test("an error of the API is the problem's own text", () => {
  const problem = {
    type: "about:blank",
    title: "Unknown interval",
    status: 400,
    detail: "interval 9y: expected 1m",
  };
  assert.equal(problemText(400, JSON.stringify(problem)), "Unknown interval: interval 9y: expected 1m");
  assert.equal(problemText(502, "<html>"), "The API answered with status 502.");
});

Deno.test("a request without a token asks for one and is sent again with it", async () => {
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

Deno.test("an API that can't be reached is said so, and parameters that are undefined are left out", async () => {
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
