/**
 * The views of sql/ against pandas and numpy, which compute the same statistics of the same trades (formulas.py): decimals
 * exactly, floats within 1e-9. The test makes itself a Python environment in .tapehouse/python.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createSimulation } from "../../exchange/simulation.ts";
import { readAsTopic } from "../../lib/recording/as_messages.ts";
import { addRows, emptyRows } from "../../lib/ingest/rows.ts";
import { type Skip, testUnless } from "../support/skip.ts";
import { root } from "../support/tape.ts";
import { recording } from "../support/recording.ts";
import { insertTrades, type Trade, tradesOf } from "../support/simulated_trades.ts";
import { useDatabases } from "../support/sql_database.ts";

/** The folder carries the versions: another set is another environment. */
const requirements = ["numpy==2.4.6", "pandas==3.1.1", "python-dateutil==4.0.0"];
const environment = `${root}.tapehouse/python/${requirements.slice(0, 2).join("-").replaceAll("==", "-")}`;
const python = `${environment}/bin/python`;

const withDatabase = useDatabases();

type Row = Record<string, string | number | null>;

const noPython = await prepare();

/** Makes the environment where it isn't there yet; in a folder beside it first, so that half of one is never used. */
async function prepare(): Promise<Skip | undefined> {
  if (await Deno.stat(python).then(() => true, () => false)) return undefined;
  const draft = `${environment}.${crypto.randomUUID()}`;
  try {
    const steps: [string, string[]][] = [
      ["python3", ["-m", "venv", draft]],
      [`${draft}/bin/python`, [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        ...requirements,
      ]],
      // Imported once: a half download isn't an environment.
      [`${draft}/bin/python`, ["-c", "import pandas"]],
    ];
    for (const [command, args] of steps) {
      const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
      const said = new TextDecoder().decode(stderr.length > 0 ? stderr : stdout).trim().split("\n").at(-1);
      if (!success) return { reason: `${command} ${args.join(" ")} failed: ${said}`, avoidable: true };
    }
    // Another run may have been faster.
    await Deno.rename(draft, environment).catch(() => {});
    return undefined;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { reason: "python3 is not on this machine", avoidable: true };
  } finally {
    await Deno.remove(draft, { recursive: true }).catch(() => {});
  }
}

/** What formulas.py says. */
async function ask(trades: readonly Trade[], args: string[]): Promise<Record<string, Row[]>> {
  const child = new Deno.Command(python, {
    args: [`${root}tests/analytics/formulas.py`, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const lines = new Blob([trades.map((trade) => `${JSON.stringify(trade)}\n`).join("")]);
  // It may end before it has read everything: then its own words say why.
  const [output] = await Promise.all([child.output(), lines.stream().pipeTo(child.stdin).catch(() => {})]);
  assert(output.success, new TextDecoder().decode(output.stderr));
  return JSON.parse(new TextDecoder().decode(output.stdout));
}

/** Two days of a slow simulated market. */
function simulated(products: readonly string[], from: number, to: number): Trade[] {
  const market = createSimulation({ seed: "formulas", products, rate: 0.6, clock: () => to });
  return products.flatMap((product) => tradesOf(market, product, market.lastTradeBefore(product, from) + 1));
}

/** The recording's trades, as the consumer reads them. */
async function recordedTrades(): Promise<Trade[]> {
  const rows = emptyRows();
  const options = { onSource: () => {}, onRead: () => {}, onTorn: () => {} };
  for await (const message of readAsTopic(recording, options)) addRows(rows, message);
  return rows.trades.map(([product_id, trade_id, time, price, size, taker_side]) => {
    assert(taker_side === "buy" || taker_side === "sell", `trade ${trade_id}: taker_side ${taker_side}`);
    return {
      product_id: String(product_id),
      trade_id: Number(trade_id),
      time: String(time),
      price: String(price),
      size: String(size),
      taker_side,
    };
  });
}

/**
 * Stores the trades in a database of their own, and compares every answer of formulas.py with the view's.
 *
 * @param span from and to of the views that take a range
 * @param moments for rolling_24h
 */
async function compare(
  trades: readonly Trade[],
  span: [from: string, to: string],
  intervals: readonly string[],
  moments: readonly string[],
) {
  await withDatabase(async (database) => {
    await insertTrades(database, trades);
    const products = [...new Set(trades.map(({ product_id }) => product_id))].sort();
    const range = `from = '${span[0]}', to = '${span[1]}'`;
    const views = new Map<string, string>(products.flatMap((product) => {
      const own = `product = '${product}', ${range}`;
      return [
        ...intervals.map((interval): [string, string] => [
          `candles ${interval} ${product}`,
          `SELECT * FROM candles(product = '${product}', interval = '${interval}', from = '2000-01-01', to = '2100-01-01')
           ORDER BY time`,
        ]),
        [
          `hourly_stats ${product}`,
          `SELECT * FROM hourly_stats WHERE product_id = '${product}' ORDER BY hour`,
        ],
        [`order_flow ${product}`, `SELECT * FROM order_flow(interval = '15m', ${own}) ORDER BY time`],
        [`drawdown ${product}`, `SELECT * FROM drawdown(interval = '5m', ${own}) ORDER BY time`],
        [`trade_sizes ${product}`, `SELECT * FROM trade_sizes(${own})`],
        [`volatility ${product}`, `SELECT * FROM volatility(${own})`],
        [`beta_to_btc ${product}`, `SELECT * FROM beta_to_btc(${own})`],
        ...moments.map((moment): [string, string] => [
          `rolling_24h ${moment} ${product}`,
          `SELECT * FROM rolling_24h(at = '${moment}') WHERE product_id = '${product}'`,
        ]),
      ];
    }));
    views.set(
      "correlations",
      `SELECT * FROM correlations(products = [${products.map((product) => `'${product}'`).join()}], ${range})
       ORDER BY product_x, product_y`,
    );
    const wanted = await ask(trades, [...span, intervals.join(), moments.join()]);
    assert.deepEqual(Object.keys(wanted).sort(), [...views.keys()].sort());
    for (const [name, query] of views) {
      const found = await database.rows<Row>(query);
      const expected = wanted[name] ?? [];
      assert(expected.length > 0, name);
      assert.equal(found.length, expected.length, `${name}: rows`);
      expected.forEach((row, index) =>
        same(found[index] ?? {}, row, `${name} ${row.time ?? row.hour ?? ""}`)
      );
    }
  });
}

/** Texts (decimals, times), whole numbers and null exactly; other numbers within 1e-9. */
function same(found: Row, wanted: Row, what: string) {
  for (const [column, want] of Object.entries(wanted)) {
    const have = found[column];
    if (typeof want === "number" && typeof have === "number") {
      const tolerance = 1e-9 * Math.max(1, Math.abs(want));
      assert(Math.abs(have - want) <= tolerance, `${what}: ${column} is ${have}, pandas says ${want}`);
    } else assert.equal(have, want, `${what}: ${column}`);
  }
}

testUnless(
  "formulas: every statistic of two simulated days is the one that pandas computes",
  noPython,
  async () => {
    const from = Date.UTC(2026, 2, 2) * 1000;
    const trades = simulated(["BTC-USD", "ETH-USD", "DOGE-USD"], from, from + 2 * 86400e6);
    assert(trades.length > 20_000);
    await compare(
      trades,
      ["2026-03-03 00:00:00", "2026-03-04 00:00:00"],
      ["1s", "1m", "7m", "1h", "4h", "1d", "1w"],
      ["2026-03-03 12:00:00", "2026-03-04 00:00:00", "2026-03-02 18:30:00"],
    );
  },
);

testUnless(
  "formulas: every statistic of the recording is the one that pandas computes",
  noPython,
  async () => {
    await compare(
      await recordedTrades(),
      ["2026-07-07 22:00:00", "2026-07-07 23:00:00"],
      ["1s", "10s", "1m", "1h", "1d"],
      ["2026-07-07 22:59:00"],
    );
  },
);
