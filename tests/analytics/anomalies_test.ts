/**
 * Anomalies: planted ones of every kind are found where they are, with scores that are worked out here in plain TypeScript;
 * where nothing happens nothing is found.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createSimulation } from "../../exchange/simulation.ts";
import { type Anomaly, readThresholds } from "../../lib/ops/rollup.ts";
import { formatMicros, parseMicros } from "../../lib/core/time.ts";
import { type SqlDatabase, useDatabases } from "../support/sql_database.ts";

const second = 1e6;
const minute = 60 * second;
const hour = 60 * minute;
const midnight = parseMicros("2026-07-07T00:00:00Z");
/** Within the day of 2026-07-07; negative is the day before. */
const at = (hours: number, minutes = 0, seconds = 0) =>
  midnight + hours * hour + minutes * minute + seconds * second;

const withDatabase = useDatabases();

interface Market extends SqlDatabase {
  store(tape: Tape): Promise<void>;
  /** With the usual thresholds, in the order of their starts. */
  between(product: string, from: number, to: number): Promise<Anomaly[]>;
}

async function withMarket(body: (market: Market) => Promise<void>): Promise<void> {
  await withDatabase(async (database) => {
    const { insert, rows } = database;
    await body({
      ...database,
      async store({ product, trades, tickers, heartbeats }) {
        const common = { product_id: product, source: "simulator" };
        await insert(
          "trades",
          trades.map((trade) => ({
            ...common,
            trade_id: trade.id,
            time: formatMicros(trade.time),
            price: trade.price,
            size: trade.size,
            taker_side: "buy",
            received_at: formatMicros(trade.received ?? trade.time),
            ...(trade.received !== undefined && { source: "backfill" }),
          })),
        );
        await insert(
          "tickers",
          tickers.map(({ time, bid, ask, connection = "p-1" }, i) => ({
            ...common,
            connection,
            kafka_offset: i,
            time: formatMicros(time),
            price: bid,
            best_bid: bid,
            best_ask: ask,
          })),
        );
        await insert(
          "heartbeats",
          heartbeats.map(({ time, last }) => ({
            ...common,
            time: formatMicros(time),
            last_trade_id: last,
            received_at: formatMicros(time),
          })),
        );
      },
      between: (product, from, to) =>
        rows(
          `SELECT * FROM anomalies_between(product = '${product}', from = '${formatMicros(from)}',
           to = '${formatMicros(to)}') ORDER BY time, kind`,
        ),
    });
  });
}

interface Trade {
  id: number;
  time: number;
  price: string;
  size: string;
  /** When it came, where it was filled from REST. */
  received?: number;
}
interface Ticker {
  time: number;
  bid: string;
  ask: string;
  connection?: string;
}
interface Tape {
  product: string;
  trades: Trade[];
  tickers: Ticker[];
  heartbeats: { time: number; last: number }[];
}

/** xorshift32, 0 ≤ x < 1. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/**
 * A market on which nothing happens: a random walk whose volatility comes and goes, with a fat tail, and prices that jump
 * between bid and ask; sizes from dust to a hundred times the usual; busy and calm hours.
 *
 * @param options.every seconds between two trades on average
 * @param options.volatility of a year's log return
 * @param options.spread in bps
 */
function quiet(
  product: string,
  from: number,
  to: number,
  options: { every: number; price: number; volatility: number; spread: number; seed: number },
): Tape {
  const random = createRandom(options.seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const tape: Tape = { product, trades: [], tickers: [], heartbeats: [] };
  const perSecond = options.volatility / Math.sqrt(365 * 86400);
  let mid = options.price;
  let beat = from;
  let id = 1000;
  for (let time = from;;) {
    const mood = 1 + 0.5 * Math.sin(2 * Math.PI * time / (5.3 * hour));
    const wait = -Math.log(1 - random()) * options.every / mood;
    time += Math.max(1, Math.round(wait * second));
    for (; beat < Math.min(time, to); beat += second) {
      tape.heartbeats.push({ time: beat + Math.floor(random() * 20_000), last: id });
    }
    if (time >= to) return tape;
    mid *= Math.exp(perSecond * mood * Math.sqrt(wait) * normal() * (random() < 0.03 ? 3 : 1));
    const half = mid * options.spread * (0.5 + random()) / 20_000;
    const [bid, ask] = [(mid - half).toFixed(4), (mid + half).toFixed(4)];
    const size = random() < 0.05 ? 1e-8 : Math.exp(1.2 * normal()) * 0.1;
    tape.trades.push({ id: ++id, time, price: random() < 0.5 ? bid : ask, size: size.toFixed(8) });
    tape.tickers.push({ time, bid, ask });
  }
}

const busy = { every: 3, price: 60_000, volatility: 0.6, spread: 0.5, seed: 7 };

/** `kind start end severity`, times within the day. */
function brief({ kind, time, end_time, severity }: Anomaly): string {
  return `${kind} ${time.slice(11, 19)} ${end_time?.slice(11, 19) ?? "goes on"} ${severity}`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length >> 1;
  const [low, high] = [sorted[middle - 1] ?? NaN, sorted[middle] ?? NaN];
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function assertNear(have: unknown, want: number, what: string): void {
  const near = typeof have === "number" && Math.abs(have - want) <= 1e-9 * Math.max(1, Math.abs(want));
  assert.ok(near, `${what}: ${have}, expected ${want}`);
}

/** The rows of `minute_scores`, by its definition. */
function expectedScores(tape: Tape, from: number, to: number) {
  const minutes = [...Map.groupBy(tape.trades, ({ time }) => Math.floor(time / minute) * minute)]
    .sort(([left], [right]) => left - right)
    .map(([start, trades]) => ({
      start,
      close: Number(trades.reduce((last, trade) => trade.id > last.id ? trade : last).price),
      volume: trades.reduce((sum, { size }) => sum + Math.round(Number(size) * 1e8), 0) / 1e8,
    }));
  const series = {
    return: minutes.flatMap(({ start, close }, i) => {
      const before = minutes[i - 1];
      if (before === undefined || start - before.start > 24 * hour) return [];
      return [{ start, value: Math.log(close / before.close) / Math.sqrt((start - before.start) / minute) }];
    }),
    volume: minutes.map(({ start, volume }) => ({ start, value: Math.log(volume) })),
  };
  return (["return", "volume"] as const).flatMap((measure) =>
    series[measure].flatMap(({ start, value }, i, all) => {
      if (start < from || start + minute > to) return [];
      const recent = all.slice(Math.max(0, i - 60), i).filter((other) => start - other.start <= 24 * hour)
        .map((other) => other.value);
      const center = median(recent);
      const deviations = recent.map((other) => Math.abs(other - center));
      const mad = median(deviations);
      const unequal = deviations.filter((deviation) => deviation > 0);
      const spread = mad > 0 ? mad / 0.6745 : unequal.length > 0 ? Math.sqrt(Math.PI / 2) * mean(unequal) : 0;
      const scale = Math.max(measure === "return" ? 0.0005 : 0.25, spread);
      const score = recent.length < 30 ? null : (value - center) / scale;
      return [{ measure, start, value, history: recent.length, median: center, mad, scale, score }];
    })
  );
}

/** The rows of `spread_ratios`, for tickers of one connection. */
function expectedSpreads(tape: Tape, from: number, to: number) {
  const quotes = tape.tickers.map(({ time, bid, ask }) => ({
    time,
    bps: 20_000 * (Number(ask) - Number(bid)) / (Number(ask) + Number(bid)),
  }));
  const minutes = new Map<number, { held: number; sum: number }>();
  for (
    const [begin, own] of Map.groupBy(
      quotes.keys(),
      (i) => Math.floor((quotes[i]?.time ?? 0) / second) * second,
    )
  ) {
    // The quote before the second's first one holds at its start.
    for (const i of [Math.max(0, (own[0] ?? 0) - 1), ...own]) {
      const { time, bps } = quotes[i] ?? { time: 0, bps: 0 };
      const until = Math.min(quotes[i + 1]?.time ?? Infinity, time + minute, begin + second);
      const held = Math.max(0, until - Math.max(time, begin));
      const whole = Math.floor(begin / minute) * minute;
      const sums = minutes.get(whole) ?? { held: 0, sum: 0 };
      minutes.set(whole, { held: sums.held + held, sum: sums.sum + held * bps });
    }
  }
  const means = [...minutes].map(([start, { held, sum }]) => ({ start, spread: sum / held }));
  return means.flatMap(({ start, spread }) => {
    if (start < from || start + minute > to) return [];
    const recent = means.filter((other) => other.start >= start - hour && other.start < start);
    return recent.length < 30
      ? []
      : [{ start, spread, history: recent.length, usual: median(recent.map((other) => other.spread)) }];
  });
}

async function assertScores(market: Market, tape: Tape, from: number, to: number): Promise<number> {
  const found = await market.rows<Record<string, number | string | null>>(
    `SELECT *, toUnixTimestamp64Micro(time) AS start FROM minute_scores(product = '${tape.product}',
       from = '${formatMicros(from)}', to = '${formatMicros(to)}') ORDER BY measure, time`,
  );
  const wanted = expectedScores(tape, from, to);
  assert.deepEqual(
    found.map(({ measure, start }) => [measure, start]),
    wanted.map((row) => [row.measure, row.start]),
  );
  for (const [i, row] of wanted.entries()) {
    const have = found[i];
    const what = `${row.measure} of ${formatMicros(row.start)}`;
    assert.equal(have?.history, row.history, what);
    if (row.history === 0) continue;
    for (const name of ["value", "median", "mad", "scale"] as const) {
      assertNear(have?.[name], row[name], `${name} of ${what}`);
    }
    if (row.score === null) assert.equal(have?.score, null, what);
    else assertNear(have?.score, row.score, `score of ${what}`);
  }
  return wanted.length;
}

Deno.test("anomalies: a quiet day has none, neither of a busy product nor of one that hardly trades", async () => {
  await withMarket(async (market) => {
    const tapes = [
      quiet("BUSY-USD", at(-26), at(24), busy),
      quiet("SLOW-USD", at(-26), at(24), { every: 45, price: 2, volatility: 1.2, spread: 12, seed: 11 }),
      quiet("RARE-USD", at(-26), at(24), { every: 900, price: 0.5, volatility: 1.5, spread: 80, seed: 5 }),
    ];
    for (const tape of tapes) await market.store(tape);
    for (const { product } of tapes) {
      assert.deepEqual(
        (await market.between(product, at(0), at(24))).map((row) => [product, brief(row), row.explanation]),
        [],
      );
    }
    assert.deepEqual(await market.between("NONE-USD", at(0), at(24)), []);
  });
});

Deno.test("anomalies: a day of the simulated exchange has none of its trades", async () => {
  await withMarket(async (market) => {
    const products = ["BTC-USD", "ETH-USD", "ZEC-USD"];
    const end = parseMicros("2026-01-03T00:00:00Z");
    const exchange = createSimulation({ seed: "anomalies", products, rate: 0.8, clock: () => end });
    for (const product of products) {
      const trades = Array.from({ length: exchange.lastTrade(product) }, (_, i): Trade => {
        const { time, price, size } = exchange.trade(product, i + 1);
        return { id: i + 1, time: parseMicros(time), price, size };
      });
      assert.ok(trades.length > 300);
      await market.store({ product, trades, tickers: [], heartbeats: [] });
      const found = await market.between(product, end - 24 * hour, end);
      assert.deepEqual(found.map((row) => [product, brief(row), row.explanation]), []);
    }
  });
});

Deno.test("anomalies: the scores of every minute are the modified z-scores of the minutes before", async () => {
  await withMarket(async (market) => {
    const tape = quiet("A-USD", at(-4), at(3), busy);
    const slow = quiet("B-USD", at(-30), at(6), { ...busy, every: 240, seed: 3 });
    // Of the sixty traded minutes before, many are older than a day.
    const rare = quiet("C-USD", at(-60), at(6), { ...busy, every: 2400, seed: 9 });
    for (const each of [tape, slow, rare]) await market.store(each);
    // Over midnight, from and to within a minute.
    assert.ok(await assertScores(market, tape, at(-4), at(3)) > 800);
    assert.ok(await assertScores(market, tape, at(-2, 0, 30), at(1, 0, 30)) > 200);
    assert.ok(await assertScores(market, slow, at(-2), at(5, 59)) > 100);
    assert.ok(await assertScores(market, rare, at(-12), at(6)) > 20);
  });
});

Deno.test("anomalies: planted ones are found where they are, each as one row, whatever range they are looked for in", async () => {
  await withMarket(async (market) => {
    // Every plant has a product and its usual market of 20 hours.
    const plant = async (product: string, change: (tape: Tape) => void, options = busy): Promise<Tape> => {
      const tape = quiet(product, at(-14), at(6), {
        ...options,
        seed: product.length * 31 + product.charCodeAt(0),
      });
      change(tape);
      await market.store(tape);
      return tape;
    };
    const during = (from: number, to: number) => ({ time }: { time: number }) => time >= from && time < to;
    const times = (text: string, factor: number, digits: number) => (Number(text) * factor).toFixed(digits);
    const expectIn = async (product: string, from: number, to: number, wanted: string[]) => {
      const found = await market.between(product, from, to);
      assert.deepEqual(
        found.map(brief),
        wanted,
        `${product}: ${found.map(({ explanation }) => explanation).join("\n")}`,
      );
      return found;
    };
    /** Looks at the whole, at a part that begins in the middle, and in two pieces. */
    const expect = async (product: string, wanted: string[], middle: number) => {
      const found = await expectIn(product, at(0), at(6), wanted);
      const parts = [
        await market.between(product, at(0), middle),
        await market.between(product, middle, at(6)),
      ];
      const keys = new Map(parts.flat().map((row) => [`${row.kind} ${row.time}`, row]));
      assert.deepEqual(
        [...keys.keys()].sort(),
        found.map((row) => `${row.kind} ${row.time}`).sort(),
        `${product} in parts`,
      );
      for (const row of found) {
        const same = keys.get(`${row.kind} ${row.time}`);
        assert.deepEqual([same?.end_time, same?.explanation], [row.end_time, row.explanation], product);
        assertNear(same?.score, row.score, product);
        assertNear(
          row.kind === "crossed_market" ? row.score - 1 : row.score * row.threshold,
          Math.abs(row.value),
          product,
        );
      }
      return found;
    };

    // The price jumps by 7 % within a minute and stays there.
    const jump = await plant("JUMP", ({ trades, tickers }) => {
      for (const trade of trades.filter(during(at(3, 20, 30), at(6)))) {
        trade.price = times(trade.price, 1.07, 4);
      }
      for (const ticker of tickers.filter(during(at(3, 20, 30), at(6)))) {
        [ticker.bid, ticker.ask] = [times(ticker.bid, 1.07, 4), times(ticker.ask, 1.07, 4)];
      }
    });
    const [jumped, outlier] = await expect("JUMP", [
      "price_jump 03:20:00 03:21:00 info",
      "return_outlier 03:20:00 03:21:00 critical",
    ], at(3, 20, 30));
    const closeOf = (start: number) => jump.trades.filter(during(start, start + minute)).at(-1)?.price ?? "";
    const [before, after] = [closeOf(at(3, 19)), closeOf(at(3, 20))];
    assertNear(jumped?.value, Number(after) / Number(before) - 1, "jump");
    const percent = String(Math.round((Number(after) / Number(before) - 1) * 10_000) / 100);
    const trim = (decimal: string) => decimal.replace(/\.?0+$/, "");
    assert.equal(
      jumped?.explanation,
      `The price rose by ${percent} % in a minute, from ${trim(before)} to ${trim(after)}; the bound is 5 %.`,
    );
    const score = expectedScores(jump, at(3, 20), at(3, 21)).find(({ measure }) =>
      measure === "return"
    )?.score ?? NaN;
    assertNear(outlier?.value, score, "z-score");
    assertNear(outlier?.score, Math.abs(score) / 10, "score");
    await assertScores(market, jump, at(3), at(4));

    // Two hours with six and twenty times the volume: the second, the worse, describes it.
    const spike = await plant("SPIKE", ({ trades }) => {
      for (const trade of trades.filter(during(at(2), at(3)))) trade.size = times(trade.size, 6, 8);
      for (const trade of trades.filter(during(at(3), at(4)))) trade.size = times(trade.size, 20, 8);
    });
    const [spiked] = await expect("SPIKE", ["volume_spike 02:00:00 04:00:00 critical"], at(3));
    const volume = (from: number, to: number) =>
      spike.trades.filter(during(from, to)).reduce((sum, { size }) => sum + Number(size), 0);
    assertNear(spiked?.value, volume(at(3), at(4)) / (volume(at(-14), at(3)) / 17), "spike");
    assert.match(
      spiked?.explanation ?? "",
      /^An hour's volume was [\d.]+ in \d+ trades, [\d.]+ times the average hour of the 17 before, /,
    );
    // The hour that still runs can only grow.
    await expectIn("SPIKE", at(3), at(3, 59), ["volume_spike 02:00:00 goes on critical"]);

    const burst = await plant("BURST", ({ trades }) => {
      for (const trade of trades.filter(during(at(4, 10), at(4, 12)))) {
        trade.size = times(trade.size, 600, 8);
      }
    });
    const bursts = await expect("BURST", [
      "volume_spike 04:00:00 05:00:00 warning",
      "volume_outlier 04:10:00 04:12:00 info",
    ], at(4, 11));
    const volumes = expectedScores(burst, at(4, 10), at(4, 12)).flatMap(({ measure, score }) =>
      measure === "volume" ? score ?? [] : []
    );
    assertNear(bursts[1]?.value, Math.max(...volumes), "volume's z-score");

    // For three minutes, and two minutes later for one more.
    const wide = await plant("WIDE", ({ tickers }) => {
      for (
        const ticker of tickers.filter(({ time }) =>
          during(at(5, 1), at(5, 4))({ time }) || during(at(5, 6), at(5, 7))({ time })
        )
      ) {
        ticker.ask = times(ticker.ask, time5(ticker.time) ? 1.004 : 1.002, 4);
      }
    });
    function time5(time: number) {
      return time >= at(5, 3);
    }
    const [blowout] = await expect("WIDE", ["spread_blowout 05:01:00 05:07:00 critical"], at(5, 3, 30));
    const spreads = expectedSpreads(wide, at(4), at(6));
    const ratios = await market.rows<Record<string, number | string>>(
      `SELECT *, toUnixTimestamp64Micro(time) AS start FROM spread_ratios(product = 'WIDE',
         from = '${formatMicros(at(4))}', to = '${formatMicros(at(6))}') ORDER BY time`,
    );
    assert.deepEqual(
      ratios.map(({ start, history }) => [start, history]),
      spreads.map(({ start, history }) => [start, history]),
    );
    for (const [i, { start, spread, usual }] of spreads.entries()) {
      const what = `spread at ${formatMicros(start)}`;
      assertNear(ratios[i]?.spread_bps, spread, what);
      assertNear(ratios[i]?.median_bps, usual, what);
      assertNear(ratios[i]?.ratio, spread / usual, what);
    }
    assertNear(blowout?.value, Math.max(...spreads.map(({ spread }) => spread)), "blow-out");
    assert.equal(blowout?.threshold, 5);
    assert.match(
      blowout?.explanation ?? "",
      /^The spread was 39\.\d+ bps over a minute, usually 0\.\d+ bps \(median of 60 minutes\); the bound is 5 bps\.$/,
    );

    // One quote, then a crossing of ten seconds three minutes later.
    await plant("CROSS", ({ tickers }) => {
      tickers.splice(0, tickers.length, ...tickers.filter(({ time }) => !during(at(1), at(1, 4))({ time })));
      tickers.push(
        { time: at(1), bid: "100", ask: "100.003" },
        { time: at(1, 0, 30), bid: "100.003", ask: "100.003" },
        { time: at(1, 0, 30.25), bid: "100", ask: "100.003" },
        { time: at(1, 3, 30), bid: "101", ask: "100" },
        { time: at(1, 3, 40), bid: "100", ask: "100.003" },
      );
    });
    const [crossed] = await expectIn("CROSS", at(0), at(1, 4), ["crossed_market 01:00:30 01:03:40 critical"]);
    assertNear(crossed?.value, 10_000 * 1 / 100.5, "crossed");
    assert.equal(crossed?.explanation, "In the ticker the bid 101 stood 99.5025 bps above the ask 100.");
    await expectIn("CROSS", at(1, 2), at(1, 3, 35), ["crossed_market 01:00:30 goes on critical"]);
    const [equal] = await expectIn("CROSS", at(0), at(1, 3), ["crossed_market 01:00:30 01:00:30 info"]);
    assert.deepEqual([equal?.value, equal?.score], [0, 1]);
    assert.equal(equal?.explanation, "In the ticker the bid 100.003 was also the ask.");

    // The same in the book, second by second.
    await market.clickhouse.insert({
      table: "book_depth_1s_state",
      values: [-1, 0, 1, 2].map((i) => ({
        product_id: "BOOK",
        time: formatMicros(at(2, 0, i)),
        best_bid: "10.001",
        best_ask: i === 1 || i === 0 ? "10" : "10.002",
        spread: i === 1 || i === 0 ? "-0.001" : "0.001",
        spread_bps: i === 1 || i === 0 ? -0.9999500024998749 : 1,
      })),
      format: "JSONEachRow",
    });
    const [book] = await expectIn("BOOK", at(0), at(6), ["crossed_market 02:00:00 02:00:02 info"]);
    assert.equal(book?.explanation, "In the book the bid 10.001 stood 1 bps above the ask 10.");
    assertNear(book?.score, 1.999950002499875, "book");

    // Nothing comes for 47 seconds; the trades' numbers go on without a gap.
    const silent = await plant("SILENT", (tape) => {
      const gap = during(at(2, 30), at(2, 30, 47));
      tape.heartbeats = tape.heartbeats.filter((beat) => !gap(beat));
      tape.trades = tape.trades.filter((trade) => !gap(trade)).map((trade, i) => ({
        ...trade,
        id: 1001 + i,
      }));
      renumber(tape);
    });
    const lastBeat = silent.heartbeats.filter(({ time }) => time < at(2, 30)).at(-1)?.time ?? 0;
    const nextBeat = silent.heartbeats.find(({ time }) => time >= at(2, 30, 47))?.time ?? 0;
    const [silence] = await expect("SILENT", ["silence 02:29:59 02:30:47 warning"], at(2, 30, 20));
    assert.equal(silence?.time, formatMicros(lastBeat));
    assert.equal(silence?.end_time, formatMicros(nextBeat));
    assertNear(silence?.value, (nextBeat - lastBeat) / 1e6, "silence");
    assert.match(
      silence?.explanation ?? "",
      /^No heartbeat for 4\d(\.\d)? s after 2026-07-07 02:29:59\.\d+; usually one comes every second, the bound is 10 s\.$/,
    );
    // It goes on at the end of the range.
    await expectIn("SILENT", at(2), at(2, 30, 40), ["silence 02:29:59 goes on warning"]);
    await expectIn("SILENT", at(2, 30, 20), at(2, 30, 40), ["silence 02:29:59 goes on warning"]);

    // Heartbeats go on for 20 minutes without a trade.
    const stale = await plant("STALE", (tape) => {
      const gap = during(at(4), at(4, 20));
      tape.trades = tape.trades.filter((trade) => !gap(trade)).map((trade, i) => ({
        ...trade,
        id: 1001 + i,
      }));
      tape.tickers = tape.tickers.filter((ticker) => !gap(ticker));
      renumber(tape);
    });
    const [pause] = await expect(
      "STALE",
      ["stale_price 03:59:59 04:20:01 critical"].map(() => staleRow()),
      at(4, 10),
    );
    function staleRow() {
      const [from, to] = pauseOf(stale, at(4));
      return `stale_price ${formatMicros(from).slice(11, 19)} ${formatMicros(to).slice(11, 19)} critical`;
    }
    const [pauseFrom, pauseTo] = pauseOf(stale, at(4));
    const beats = new Set(
      stale.heartbeats.filter(during(pauseFrom, pauseTo)).map(({ time }) => Math.floor(time / second)),
    ).size;
    const hourOf = Math.floor(pauseFrom / hour) * hour;
    const seconds = [
      ...new Set(
        stale.trades.filter(during(hourOf - 24 * hour, hourOf)).map(({ time }) => Math.floor(time / second)),
      ),
    ];
    const usual = (hourOf / second - Math.min(...seconds)) / seconds.length;
    assert.equal(pause?.value, beats);
    assertNear(pause?.threshold, Math.max(60, 60 * usual), "usual");

    // Trades 5000 to 5019 are lost and come from REST after 50 s; those of a later gap in two parts.
    const lost = await plant("GAP", (tape) => {
      tape.trades = tape.trades.filter(({ id }) =>
        (id < 5000 || id > 5019) && (id < 20_100 || id > 20_109) &&
        (id < 20_500 || id > 20_501)
      );
    });
    const whole = new Map(
      quiet("GAP", at(-14), at(6), { ...busy, seed: "GAP".length * 31 + "G".charCodeAt(0) })
        .trades.map((trade) => [trade.id, trade]),
    );
    const timeOf = (id: number) => whole.get(id);
    assert.ok(lost.trades.length > 20_200);
    const [first, later] = [timeOf(4999)?.time ?? 0, timeOf(20_099)?.time ?? 0];
    const seen = (id: number) => lost.heartbeats.find(({ last }) => last >= id)?.time ?? 0;
    const noticed = Math.min(seen(20_100), timeOf(20_110)?.time ?? Infinity);
    assert.ok(first < at(0) && later > at(0) && noticed < at(5));
    const now = noticed + 100 * second;
    const clock = (time: number) => formatMicros(time).slice(11, 19);
    const open = await expectIn("GAP", at(-14), now, [
      `tape_gap ${clock(first)} goes on critical`,
      `tape_gap ${clock(later)} goes on warning`,
    ]);
    assertNear(open[1]?.value, 100, "a gap's age");
    assert.equal(
      open[1]?.explanation,
      "10 trades, ids 20100 to 20109, were missed 100 s ago and all are missing still; the bound is 30 s.",
    );
    const fill = (ids: number[], received: number) =>
      market.store({
        product: "GAP",
        trades: ids.flatMap((id) => {
          const trade = timeOf(id);
          return trade ? [{ ...trade, received }] : [];
        }),
        tickers: [],
        heartbeats: [],
      });
    const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
    const firstSeen = Math.min(seen(5000), timeOf(5020)?.time ?? Infinity);
    await fill(range(5000, 5019), firstSeen + 50 * second);
    await fill(range(20_105, 20_109), noticed + 90 * second);
    const half = await expectIn("GAP", at(-14), now, [
      `tape_gap ${clock(first)} ${clock(firstSeen + 50 * second)} info`,
      `tape_gap ${clock(later)} goes on warning`,
    ]);
    assert.equal(
      half[0]?.explanation,
      "20 trades, ids 5000 to 5019, came from REST 50 s after they were missed; the bound is 30 s.",
    );
    assert.equal(
      half[1]?.explanation,
      "10 trades, ids 20100 to 20109, were missed 100 s ago and 5 are missing still; the bound is 30 s.",
    );
    // What is filled within the bound is no anomaly, and changes nothing of the age of one that is open.
    await fill([20_500, 20_501], Math.min(seen(20_500), timeOf(20_502)?.time ?? Infinity) + 29 * second);
    const [older] = await expectIn("GAP", at(0), at(6), [`tape_gap ${clock(later)} goes on critical`]);
    assertNear(older?.value, (at(6) - noticed) / second, "the age of the older gap");
    await fill(range(20_100, 20_104), noticed + 95 * second);
    await expectIn("GAP", at(0), at(6), [
      `tape_gap ${clock(later)} ${clock(noticed + 95 * second)} warning`,
    ]);
  });
});

/** The traded seconds around a moment. */
function pauseOf(tape: Tape, moment: number): [from: number, to: number] {
  const whole = (time: number) => Math.floor(time / second) * second;
  const before = tape.trades.filter(({ time }) => time < moment).at(-1)?.time ?? 0;
  const after = tape.trades.find(({ time }) => time >= moment)?.time ?? 0;
  return [whole(before), whole(after)];
}

/** Heartbeats tell of the trades as they are. */
function renumber(tape: Tape): void {
  let next = 0;
  for (const beat of tape.heartbeats) {
    while ((tape.trades[next]?.time ?? Infinity) <= beat.time) next++;
    beat.last = 1000 + next;
  }
}

Deno.test("anomalies: no trade, one trade, equal prices and volumes, and a wide market that hardly moves are judged right", async () => {
  await withMarket(async (market) => {
    const every = (
      product: string,
      step: number,
      price: (i: number) => string,
      size: (i: number) => string,
    ): Tape => ({
      product,
      trades: Array.from(
        { length: 120 },
        (_, i) => ({ id: i + 1, time: at(-1) + i * step, price: price(i), size: size(i) }),
      ),
      tickers: [],
      heartbeats: [],
    });
    const one: Tape = {
      product: "ONE",
      trades: [{ id: 1, time: at(0, 0, 0), price: "5", size: "1" }],
      tickers: [{ time: at(0), bid: "4", ask: "6" }],
      heartbeats: [{ time: at(0), last: 1 }],
    };
    // MAD is 0 in all: equal prices until a move of 4 %; a bounce of 0.8 % now and then, which is what it always does.
    const flat = every("FLAT", minute, (i) => i < 100 ? "1" : "1.04", () => "2");
    const bounce = every("BOUNCE", minute, (i) => i % 20 === 19 ? "1.008" : "1", () => "2");
    const volume = every("VOLUME", minute, () => "1", (i) => i === 90 ? "60" : "2");
    for (const tape of [one, flat, bounce, volume]) await market.store(tape);

    assert.deepEqual((await market.between("ONE", at(-1), at(0, 0, 5))).map(brief), []);
    assert.deepEqual((await market.between("ONE", at(1), at(2))).map(brief), [
      "silence 00:00:00 goes on critical",
    ]);
    for (const tape of [flat, bounce, volume]) await assertScores(market, tape, at(-1), at(2));
    const flats = await market.between("FLAT", at(-2), at(3));
    // ln 1.04 over the least scale of 0.0005.
    assert.deepEqual(flats.map(brief), ["return_outlier 00:40:00 00:41:00 critical"]);
    assertNear(flats[0]?.value, Math.log(1.04) / 0.0005, "flat");
    assert.deepEqual((await market.between("BOUNCE", at(-2), at(3))).map(brief), []);
    const volumes = await market.between("VOLUME", at(-2), at(3));
    assert.deepEqual(volumes.map(brief), ["volume_outlier 00:30:00 00:31:00 info"]);
    assertNear(volumes[0]?.value, Math.log(30) / 0.25, "volume");
    assert.equal(
      volumes[0]?.explanation,
      "A minute's volume was 60, usually 2: its logarithm lies 13.6 times the usual deviation above that of the 60 traded minutes before; the bound is 10.",
    );
    // A price that wasn't seen for more than an hour doesn't jump.
    for (const [product, pause] of [["PAUSE59", 59], ["PAUSE61", 61]] as const) {
      const paused = every(product, minute, (i) => i < 60 ? "1" : "1.06", () => "2");
      for (const trade of paused.trades.slice(60)) trade.time += (pause - 1) * minute;
      await market.store(paused);
      assert.deepEqual(
        (await market.between(product, at(-1), at(3))).map(({ kind }) => kind),
        pause === 59 ? ["price_jump", "return_outlier"] : ["return_outlier"],
      );
    }

    // Ten times the usual volume in an hour, of a product that is traded for long, and of one that is new.
    for (const [product, hours] of [["OLD", 13], ["NEW", 11]] as const) {
      const times = [
        ...Array.from({ length: hours * 12 }, (_, i) => at(-hours) + i * 5 * minute),
        ...Array.from({ length: 120 }, (_, i) => at(0) + i * 30 * second),
      ];
      const trades = times.map((time, i) => ({ id: i + 1, time, price: "1", size: "1" }));
      await market.store({ product, trades, tickers: [], heartbeats: [] });
      assert.deepEqual(
        (await market.between(product, at(-1), at(2))).map(brief),
        product === "OLD" ? ["volume_spike 00:00:00 01:00:00 warning"] : [],
      );
    }

    // A crossed quote holds for a minute at most, and is there from its start on when looked for in its middle.
    const [stuck, quote] = ["STUCK", { time: at(1), bid: "101", ask: "100" }] as const;
    const good = [at(0, 59), at(1, 5)].map((time) => ({ time, bid: "100", ask: "101" }));
    await market.store({ product: stuck, trades: [], tickers: [quote, ...good], heartbeats: [] });
    assert.deepEqual((await market.between(stuck, at(0), at(2))).map(brief), [
      "crossed_market 01:00:00 01:01:00 critical",
    ]);
    assert.deepEqual(
      await market.rows(
        `SELECT time FROM crossed_quotes(product = 'STUCK', from = '${formatMicros(at(1, 0, 30))}',
        to = '${formatMicros(at(2))}')`,
      ),
      [{ time: formatMicros(at(1)) }],
    );

    // Ten minutes without a trade are nothing unusual for a product that has hardly been traded yet.
    const fresh: Tape = {
      product: "FRESH",
      trades: Array.from({ length: 30 }, (_, i) => ({
        id: i + 1,
        // The last in a new hour: the usual is that of the day before the hour.
        time: at(0, 0, i < 29 ? i - 40 : 1),
        price: "1",
        size: "1",
      })),
      tickers: [],
      heartbeats: Array.from({ length: 600 }, (_, i) => ({ time: at(0, 0, i - 20), last: 30 })),
    };
    await market.store(fresh);
    assert.deepEqual((await market.between("FRESH", at(0), at(0, 9))).map(brief), []);
    // An empty range and one that is upside down.
    assert.deepEqual(await market.between("FLAT", at(1), at(1)), []);
    assert.deepEqual(await market.between("FLAT", at(1), at(0)), []);
  });
});

Deno.test("anomalies: thresholds are parameters", async () => {
  await withMarket(async (market) => {
    const tape = quiet("A-USD", at(-14), at(2), busy);
    // Of each kind something that the usual bound lets pass: five seconds without a heartbeat, 90 without a trade where one
    // comes every three, and a trade that comes ten seconds after it was missed.
    const paused = (time: number) => time >= at(0, 20, 0) && time < at(0, 20, 5);
    tape.heartbeats = tape.heartbeats.filter(({ time }) => !paused(time));
    const still = (time: number) => time >= at(1) && time < at(1, 1, 30);
    tape.trades = tape.trades.filter(({ time }) => !still(time));
    renumber(tape);
    tape.trades = tape.trades.map((trade, index) => ({ ...trade, id: 1001 + index }));
    const late = tape.trades.find(({ time }) => time > at(0, 40));
    assert.ok(late);
    late.received = Math.min(
      tape.heartbeats.find(({ last }) => last >= late.id)?.time ?? Infinity,
      tape.trades.find(({ id }) => id === late.id + 1)?.time ?? Infinity,
    ) + 10 * second;
    await market.store(tape);
    const usual = await readThresholds(market.clickhouse);
    /** The kinds that are found, each with what it was held against. */
    const kinds = async (changed: Record<string, number>) => {
      const parameters = Object.entries({ ...usual, ...changed })
        .map(([name, value]) => `${name} = ${value}`).join(", ");
      const found = await market.rows<Anomaly>(
        `SELECT * FROM anomalies_live(product = 'A-USD', from = '${formatMicros(at(0))}', to = '${
          formatMicros(at(2))
        }', ${parameters})`,
      );
      return Object.fromEntries(found.map(({ kind, threshold }) => [kind, threshold]));
    };
    assert.deepEqual(await kinds({}), {});
    assert.deepEqual(await kinds({ price_jump: 0.0005 }), { price_jump: 0.0005 });
    assert.deepEqual(await kinds({ volume_spike: 0.9 }), { volume_spike: 0.9 });
    assert.deepEqual(await kinds({ z_score: 1.5 }), { return_outlier: 1.5, volume_outlier: 1.5 });
    // Times the usual, which is below 1 bp.
    assert.deepEqual(await kinds({ spread_ratio: 0.3 }), { spread_blowout: 0.3 });
    assert.deepEqual(await kinds({ silence_seconds: 4 }), { silence: 4 });
    const [twenty, twentyFour] = [await kinds({ stale_intervals: 20 }), await kinds({ stale_intervals: 24 })];
    assert.deepEqual([twenty, twentyFour].map(Object.keys), [["stale_price"], ["stale_price"]]);
    assert.ok(Math.abs(twentyFour.stale_price! / twenty.stale_price! - 1.2) < 1e-9);
    assert.deepEqual(await kinds({ gap_seconds: 5 }), { tape_gap: 5 });
  });
});
