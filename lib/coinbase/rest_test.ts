import assert from "node:assert/strict";
import { createLogger } from "../log.ts";
import { createTokenBucket, openRest, type Outcome, type Rest, RestError, retryAfterMs } from "./rest.ts";

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
    seen: { urls: URL[]; outcomes: Outcome[]; lines: string[]; stop: AbortController },
  ) => Promise<void>,
  options: { timeoutMs?: number; initialWaitMs?: number } = {},
) {
  const seen = {
    urls: [] as URL[],
    outcomes: [] as Outcome[],
    lines: [] as string[],
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
    log: createLogger({}, {
      write: (line) => seen.lines.push(JSON.parse(line).error ?? JSON.parse(line).reason),
    }),
    perSecond: 1000,
    initialWaitMs: 1,
    onOutcome: (outcome) => seen.outcomes.push(outcome),
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

Deno.test("a page of trades is asked for by its cursor, and its own cursors are those of the headers", () =>
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

Deno.test("rows come newest first and once, without those that are no trades", () =>
  withServer(
    [() => Response.json([row(3), row(5), row(5), { ...row(4), size: "0.-10000" }, null])],
    async (rest, seen) => {
      const { trades } = await rest.trades("BTC-USD");
      assert.deepEqual(trades, [row(5), row(3)]);
      assert.equal(seen.lines.length, 2);
      assert.match(seen.lines[0] ?? "", /^size: expected a decimal.*"0\.-10000"/);
    },
  ));

Deno.test("a page that wasn't asked for is asked for again", () =>
  withServer([page(99, 98), page(5, 2), page(4, 3)], async (rest, seen) => {
    assert.deepEqual((await rest.trades("BTC-USD", { after: 5, before: 2 })).trades, [row(4), row(3)]);
    assert.deepEqual(seen.outcomes, ["error", "error", "ok"]);
    assert.match(seen.lines[0] ?? "", /^wrong page: trade 99 in the answer to limit=1000&after=5&before=2$/);
  }));

/** Isn't the gzip that it says it is. */
const cutOff = () => new Response("[", { headers: { "content-encoding": "gzip" } });

Deno.test("429, 5xx and answers that can't be read are tried again", () => {
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
  });
});

Deno.test("an answer that doesn't come is waited for so long and asked for again", async () => {
  const held = Promise.withResolvers<Response>();
  await withServer([() => held.promise, page(1)], async (rest, seen) => {
    assert.deepEqual((await rest.trades("BTC-USD")).trades, [row(1)]);
    assert.deepEqual(seen.outcomes, ["error", "ok"]);
    held.resolve(new Response());
  }, { timeoutMs: 100 });
});

Deno.test("a refused request is an error of one line and isn't tried again", () =>
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

Deno.test("the abort ends the waiting", () =>
  withServer([status(500)], async (rest, seen) => {
    const answer = rest.trades("BTC-USD");
    const rejected = assert.rejects(answer);
    seen.stop.abort();
    await rejected;
  }, { initialWaitMs: 1e6 }));

Deno.test("Retry-After holds back every call", () =>
  withServer([status(429, { "retry-after": "1" }), page(1)], async (rest, seen) => {
    const start = performance.now();
    await Promise.all([rest.trades("BTC-USD"), rest.trades("BTC-USD").then(() => rest.trades("BTC-USD"))]);
    assert(performance.now() - start >= 990);
    assert.equal(seen.outcomes.filter((outcome) => outcome === "ok").length, 3);
  }));

Deno.test("products and the exchange's clock", () =>
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

Deno.test("Retry-After is a number of seconds or a date, and never longer than ten minutes", () => {
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

Deno.test("a bucket gives its burst at once, then so many a second, in the order of asking", () => {
  const bucket = createTokenBucket(8, 3);
  const waits = (now: number, count: number) => Array.from({ length: count }, () => bucket.take(now));
  assert.deepEqual(waits(0, 5), [0, 0, 0, 125, 250]);
  assert.deepEqual(waits(125, 1), [250], "the promises before come first");
  assert.deepEqual(waits(60_000, 4), [0, 0, 0, 125], "it never holds more than the burst");
  bucket.pause(62_000);
  bucket.pause(61_000);
  assert.equal(bucket.paused(60_500), 1500);
  assert.equal(bucket.take(60_500), 1500);
  assert.equal(bucket.paused(62_000), 0);
});
