import assert from "node:assert/strict";
import { createLogger } from "../process/log.ts";
import {
  openRest,
  type Outcome,
  type Rest,
  RestError,
  type RestFailure,
  retryAfterMs,
} from "./coinbase_rest.ts";

const row = (trade_id: number) => ({
  trade_id,
  side: "sell",
  size: "0.10000000",
  price: "62000.01",
  time: "2026-07-07T22:58:17.123456Z",
});

type Answer = (request: Request) => Response | Promise<Response>;

/** Runs `use` with a client of a server that gives these answers in turn, the last one from then on. */
async function withServer(
  answers: [Answer, ...Answer[]],
  use: (
    rest: Rest,
    seen: { urls: URL[]; outcomes: Outcome[]; lines: string[]; invalid: number[]; stop: AbortController },
  ) => Promise<void>,
  options: { timeoutMs?: number; initialWaitMs?: number; tries?: number } = {},
) {
  const seen = {
    urls: [] as URL[],
    outcomes: [] as Outcome[],
    lines: [] as string[],
    invalid: [] as number[],
    stop: new AbortController(),
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    seen.urls.push(new URL(request.url));
    const answer = answers[Math.min(seen.urls.length, answers.length) - 1] ?? answers[0];
    return answer(request);
  });
  const rest = openRest({
    url: `http://127.0.0.1:${server.addr.port}/`,
    signal: seen.stop.signal,
    log: createLogger({}, { write: (line) => seen.lines.push(JSON.parse(line).error) }),
    perSecond: 1000,
    initialWaitMs: 1,
    onOutcome: (outcome) => seen.outcomes.push(outcome),
    onInvalidRows: (count) => seen.invalid.push(count),
    ...options,
  });
  try {
    await use(rest, seen);
  } finally {
    seen.stop.abort();
    await server.shutdown();
  }
}

const page = (...ids: number[]) => () => Response.json(ids.map(row));
const status = (code: number, headers = {}) => () =>
  Response.json({ message: "no" }, { status: code, headers });

Deno.test("REST client: a page of trades is asked for by its cursor, and its own cursors are those of the headers", () =>
  withServer(
    [() => Response.json([9, 8].map(row), { headers: { "cb-before": "9", "cb-after": "8" } }), page()],
    async (rest, { urls }) => {
      assert.deepEqual(await rest.trades("BTC-USD", { after: 10, limit: 2 }), {
        trades: [row(9), row(8)],
        before: 9,
        after: 8,
      });
      assert.equal(urls[0]?.pathname, "/products/BTC-USD/trades");
      assert.equal(urls[0]?.search, "?limit=2&after=10");
      assert.deepEqual(await rest.trades("BTC-USD", { before: 9 }), { trades: [] });
      assert.equal(urls[1]?.search, "?limit=1000&before=9");
    },
  ));

Deno.test("REST client: rows that are no trades are left out, counted, and said with field, place and what was expected", () => {
  const { price, ...renamed } = row(4);
  return withServer(
    [
      () => Response.json([row(5), row(5), { ...row(4), size: "0.-10000" }, null, row(3)]),
      () => Response.json([{ ...renamed, px: price }]),
    ],
    async (rest, seen) => {
      const first = await rest.trades("BTC-USD");
      assert.deepEqual(first.trades, [row(5), row(3)]);
      assert.match(
        first.problem ?? "",
        /^GET http:.*\/products\/BTC-USD\/trades\?limit=1000: row 2: size: expected a decimal such as "0\.01", got .*"0\.-10000".*; 1 more of 5 rows$/,
      );
      const second = await rest.trades("BTC-USD");
      assert.deepEqual(second.trades, []);
      assert.match(
        second.problem ?? "",
        /: row 0: price: invalid input: expected string, .*"px":"62000\.01"/,
      );
      assert.deepEqual(seen.invalid, [2, 1]);
    },
  );
});

Deno.test("REST client: rows that don't come newest first are trades, and the answer isn't understood", () =>
  withServer([page(3, 5, 4)], async (rest) => {
    const { trades, problem } = await rest.trades("BTC-USD");
    assert.deepEqual(trades, [row(5), row(4), row(3)]);
    assert.match(problem ?? "", /: row 1: expected the newest first, got trade 5 behind 3$/);
  }));

Deno.test("REST client: a page that wasn't asked for is asked for again", () =>
  withServer([page(99, 98), page(5, 2), page(4, 3)], async (rest, seen) => {
    assert.deepEqual((await rest.trades("BTC-USD", { after: 5, before: 2 })).trades, [row(4), row(3)]);
    assert.deepEqual(seen.outcomes, ["error", "error", "ok"]);
    assert.match(seen.lines[0] ?? "", /^wrong page: trade 99 in the answer to limit=1000&after=5&before=2$/);
  }));

/** Isn't the gzip that it says it is. */
const cutOff = () => new Response("[", { headers: { "content-encoding": "gzip" } });

Deno.test("REST client: 429, 5xx and answers that can't be read are tried again", () => {
  const answers = [
    status(429),
    status(500),
    () => new Response("<html>busy</html>", { status: 503 }),
    () => new Response("<html>"),
    () => Response.json({}),
    cutOff,
    page(1),
  ] as const;
  return withServer([...answers], async (rest, seen) => {
    assert.deepEqual((await rest.trades("BTC-USD")).trades, [row(1)]);
    assert.deepEqual(seen.outcomes, ["429", "500", "503", "error", "error", "error", "ok"]);
    assert.equal(seen.lines[2], "the exchange answered 503: <html>busy</html>");
  }, { tries: 7 });
});

Deno.test("REST client: what goes wrong time after time is an error of one line that says of which kind", async () => {
  const cases: [string, Answer, RestFailure, RegExp][] = [
    [
      "a proxy's page",
      () => new Response("<html>\n<title>Just a moment...</title>"),
      "not understood",
      /isn't JSON: <html> <title>Just a moment/,
    ],
    ["nothing", () => new Response(""), "not understood", /isn't JSON: nothing$/],
    ["half an answer", () => new Response('[{"trade_id":'), "not understood", /isn't JSON: \[\{"trade_id":$/],
    [
      "an error object",
      () => Response.json({ message: "oops" }),
      "not understood",
      /expected a list of trades, got \{"message":"oops"\}$/,
    ],
    [
      "another page",
      page(99),
      "not understood",
      /wrong page: trade 99 in the answer to limit=1000&after=10$/,
    ],
    ["429", status(429), "away", /429: too many requests$/],
    ["503", status(503), "away", /503: no$/],
  ];
  for (const [name, answer, failure, message] of cases) {
    await withServer([answer], async (rest, seen) => {
      await assert.rejects(rest.trades("BTC-USD", { after: 10 }), (error) => {
        assert(error instanceof RestError, `${name}: ${error}`);
        assert.deepEqual([error.failure, error.message.includes("\n")], [failure, false], name);
        assert.match(error.message, message, name);
        return true;
      });
      assert.equal(seen.urls.length, 3, name);
    }, { tries: 3 });
  }
});

Deno.test("REST client: an answer from elsewhere isn't taken, and the new address is said", () =>
  withServer(
    [() => Response.json(null, { status: 301, headers: { location: "https://example.com/v2" } }), page(1)],
    async (rest, seen) => {
      await assert.rejects(
        rest.trades("BTC-USD"),
        /: 301 moved to https:\/\/example\.com\/v2: set COINBASE_REST_URL/,
      );
      assert.deepEqual(seen.outcomes, ["301"]);
    },
  ));

Deno.test("REST client: an answer that doesn't come is waited for so long and asked for again", async () => {
  const held = Promise.withResolvers<Response>();
  await withServer([() => held.promise, page(1)], async (rest, seen) => {
    assert.deepEqual((await rest.trades("BTC-USD")).trades, [row(1)]);
    assert.deepEqual(seen.outcomes, ["error", "ok"]);
    held.resolve(new Response());
  }, { timeoutMs: 100 });
});

Deno.test("REST client: a refused request is an error of one line and isn't tried again", () =>
  withServer([() => Response.json({ message: "NotFound" }, { status: 404 })], async (rest, seen) => {
    await assert.rejects(rest.trades("XXX-USD"), (error) => {
      assert(error instanceof RestError);
      assert.match(
        error.message,
        /^GET http:\/\/127\.0\.0\.1:\d+\/products\/XXX-USD\/trades\?limit=1000: 404 NotFound$/,
      );
      return true;
    });
    assert.deepEqual(seen.outcomes, ["404"]);
  }));

Deno.test("REST client: an abort ends the waiting", () =>
  withServer([status(500)], async (rest, seen) => {
    const answer = rest.trades("BTC-USD");
    const rejected = assert.rejects(answer);
    seen.stop.abort();
    await rejected;
  }, { initialWaitMs: 1e6 }));

Deno.test("REST client: Retry-After holds back every call", () =>
  withServer([status(429, { "retry-after": "1" }), page(1)], async (rest, seen) => {
    const start = performance.now();
    await Promise.all([rest.trades("BTC-USD"), rest.trades("BTC-USD").then(() => rest.trades("BTC-USD"))]);
    assert(performance.now() - start >= 990);
    assert.equal(seen.outcomes.filter((outcome) => outcome === "ok").length, 3);
  }));

Deno.test("REST client: products and the exchange's clock are read", () =>
  withServer(
    [() => Response.json([{ id: "BTC-USD", status: "online", base_currency: "BTC" }]), () =>
      Response.json({ iso: "2026-07-07T22:58:17.123Z", epoch: 1783465097.123 })],
    async (rest, { urls }) => {
      assert.deepEqual(await rest.products(), [{ id: "BTC-USD", status: "online" }]);
      assert.equal(await rest.time(), 1783465097123000);
      assert.deepEqual(
        urls.map(({ pathname }) =>
          pathname
        ),
        ["/products", "/time"],
      );
    },
  ));

Deno.test("REST client: Retry-After is a number of seconds or a date, and never longer than ten minutes", () => {
  const now = Date.UTC(2026, 6, 7, 22, 58, 17);
  const cases: [string | null, number][] = [
    [null, 0],
    ["", 0],
    ["0", 0],
    ["7", 7000],
    [" 7 ", 7000],
    ["Tue, 07 Jul 2026 22:58:47 GMT", 30_000],
    ["Tue, 07 Jul 2026 22:00:00 GMT", 0],
    ["86400", 600_000],
    ["soon", 0],
  ];
  for (const [header, ms] of cases) assert.equal(retryAfterMs(header, now), ms, `${header}`);
});
