/**
 * Every number is the same in every time zone: the server's, that of its users' sessions, and that of our processes. The
 * same tape, over days on which the clocks of Europe and America go forward, is stored, rolled up and asked in each.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { freePort } from "../../embedded/process/ports.ts";
import { startProcess } from "../../embedded/process/process.ts";
import { inDay } from "../../lib/archive/day_rows.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { bind, readQueries, resolve } from "../../lib/clickhouse/examples.ts";
import { answerQuery, newestMoments } from "../../lib/clickhouse/print_answer.ts";
import { setRetention } from "../../lib/clickhouse/retention.ts";
import { readThresholds, rollUp, type Span } from "../../lib/ops/rollup.ts";
import { columns, tables } from "../../lib/ingest/rows.ts";
import { BatchWriter } from "../../lib/ingest/batch_writer.ts";
import { formatMicros, parseMicros } from "../../lib/core/time.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "../support/config.ts";
import { startConfiguredClickHouse } from "../support/configured_clickhouse.ts";
import { simulatedTape } from "../support/simulated_tape.ts";
import { root } from "../support/tape.ts";
import { tuples } from "../../lib/clickhouse/rows.ts";

/** Where a server is, and where its users and our processes are. */
interface ZoneSetting {
  name: string;
  server: string;
  session?: string;
}

/** The same in every place, so that nothing is compared with what was computed in a wrong zone. */
const utc: ZoneSetting = { name: "UTC", server: "UTC" };
const places: ZoneSetting[] = [
  { name: "a server in India, half an hour off the hour", server: "Asia/Kolkata" },
  {
    name: "a server in New York with sessions in Berlin",
    server: "America/New_York",
    session: "Europe/Berlin",
  },
];

/** Of our own processes in January, so that it is seen that they are there. */
const minutesWest: Record<string, number> = {
  "UTC": 0,
  "Asia/Kolkata": -330,
  "Europe/Berlin": -60,
  "America/New_York": 300,
};

/** Over 07:00 UTC, when New York loses its hour from 2 to 3; over a UTC midnight and 01:00, when Berlin loses its own. */
const spans: Span[] = [
  ["2026-03-08T06:45:00Z", "2026-03-08T07:15:00Z"],
  ["2026-03-28T23:45:00Z", "2026-03-29T01:15:00Z"],
].map(([from = "", to = ""]) => ({ from: parseMicros(from), to: parseMicros(to) }));
const products = ["BTC-USD", "ETH-USD"];
const signal = new AbortController().signal;

/** When a row was written, and how large it is on the disk, is no number of the tape. */
const volatile = /^(ingested_at|computed_at|updated_at|detected_at|applied_at|checked_at)$/;

/** Each tape has a connection of its own: between them no book is known. */
const tapes = spans.map(({ from, to }, index) => {
  const tape = simulatedTape({ products, rate: 3, from, hours: (to - from) / 3600e6, bookMinutes: 4 });
  for (const table of tables) {
    const place = columns[table].indexOf("connection");
    tape[table] = tape[table].map((row) => row.with(place, `p-${index}`));
  }
  return tape;
});

const begunAt = Date.now();

/** All answers of a place by what was asked, a text a row. */
type Answers = Map<string, string[]>;

Deno.test("time zones: every table, view, example query, statistic and answer of the API is that of a server in UTC", async () => {
  const expected = await inPlace(utc);
  for (
    const name of [
      "table candle_states",
      "view completeness",
      "query volume_by_day",
      "API /api/ohlc",
      "stats",
    ]
  ) {
    const found = [...expected].filter(([asked]) => asked.startsWith(name));
    assert(found.some(([, rows]) => rows.length > 0), `${name} is empty: nothing is compared`);
  }
  assert(expected.size > 100, `only ${expected.size} answers`);
  for (const place of places) {
    const found = await inPlace(place);
    assert.deepEqual([...found.keys()], [...expected.keys()]);
    for (const [asked, rows] of expected) assert.deepEqual(found.get(asked), rows, `${place.name}: ${asked}`);
  }
});

async function inPlace({ server, session }: ZoneSetting): Promise<Answers> {
  const here = Deno.env.get("TZ");
  Deno.env.set("TZ", server);
  const running = await startConfiguredClickHouse(
    "",
    session === undefined ? "" : `<session_timezone>${session}</session_timezone>`,
  );
  Deno.env.set("TZ", session ?? server);
  const env = {
    ...running.env,
    CLICKHOUSE_DATABASE: "zones",
    KAFKA_BROKERS: `127.0.0.1:${freePort()}`,
  };
  const config = configOf({ ...running.env, CLICKHOUSE_DATABASE: "zones" });
  const clickhouse = openClickHouse(config);
  try {
    await migrate(config, () => {});
    const [zones] = await rows(clickhouse, "SELECT serverTimezone(), timezone()");
    assert.equal(zones, JSON.stringify([server, session ?? server]));
    assert.equal(new Date(2026, 0, 1).getTimezoneOffset(), minutesWest[session ?? server]);

    const answers: Answers = new Map();
    await fill(clickhouse);
    await setRetention(clickhouse, "zones", {
      ...config,
      CLICKHOUSE_CLUSTER: "",
      CLICKHOUSE_BOOK_DAYS: 36_500,
    });
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-P=stats", "tasks/stats.ts", "--date", "2026-03-29"],
      cwd: root,
      env,
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    answers.set(
      "stats",
      await rows(clickhouse, "SELECT * EXCEPT computed_at FROM volatility_metrics ORDER BY ALL"),
    );
    await askTables(clickhouse, answers);
    await askViews(clickhouse, answers);
    await askQueries(clickhouse, answers);
    await askApi(env, answers);
    return answers;
  } finally {
    if (here === undefined) Deno.env.delete("TZ");
    else Deno.env.set("TZ", here);
    await clickhouse.close();
    await running.stop();
  }
}

/** Writes the tapes as the consumer does, a gap left out and filled, and rolls them up. */
async function fill(clickhouse: ClickHouseClient): Promise<void> {
  // When a row is stored is part of some answers: here it is a second after it was received.
  for (const table of tables) {
    await clickhouse.command({
      query: `ALTER TABLE ${table} MODIFY COLUMN ingested_at DEFAULT received_at + toIntervalSecond(1)`,
    });
  }
  const onError = (what: string, error: unknown) => {
    throw new Error(what, { cause: error });
  };
  const writer = new BatchWriter(clickhouse, { onError });
  for (const [index, tape] of tapes.entries()) {
    const trades = tape.trades.map((row) => row.slice(0, -1));
    const batch = { name: `tape/${index}`, mayBeStored: false, signal };
    await writer.write({ ...tape, trades: trades.toSpliced(50, 20) }, batch);
    const again = spans[index]!;
    await rollUp(clickhouse, { again, now: again.to, signal, run: (_, statement) => statement() });
  }
}

/** The rows as texts; a time without a zone among their columns is a mistake by itself. */
async function rows(
  clickhouse: ClickHouseClient,
  query: string,
  query_params: Record<string, unknown> = {},
): Promise<string[]> {
  const answer = await clickhouse.query({
    query,
    query_params,
    format: "JSONCompactEachRowWithNamesAndTypes",
    clickhouse_settings: { output_format_json_quote_decimals: 1 },
  });
  const [names = [], types = [], ...found] = await answer.json<string[]>();
  for (const [index, type] of types.entries()) {
    assert.doesNotMatch(type, /DateTime(?:64\(\d\))?(?![\w(])/, `${names[index]} ${type}: ${query}`);
  }
  return found.map((row) => JSON.stringify(row.filter((_, index) => !volatile.test(names[index] ?? ""))));
}

async function askTables(clickhouse: ClickHouseClient, answers: Answers): Promise<void> {
  const found = await rows(
    clickhouse,
    `SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
       AND name != 'migrations' ORDER BY name`,
  );
  for (const [name, engine] of found.map((row): [string, string] => JSON.parse(row))) {
    // Where merges join rows, it is seen as after all of them.
    const final = engine === "MergeTree" ? "" : " FINAL";
    answers.set(`table ${name}`, (await rows(clickhouse, `SELECT * FROM ${name}${final}`)).sort());
    // Of the rows: system.parts has none of a part that a mutation is just about to replace.
    answers.set(
      `partitions of ${name}`,
      await rows(clickhouse, `SELECT DISTINCT _partition_id FROM ${name} ORDER BY ALL`),
    );
  }
  // How long a row is kept ends at a UTC moment.
  answers.set(
    "TTL",
    await rows(
      clickhouse,
      "SELECT toDateTime(time) + toIntervalDay(30) FROM heartbeats ORDER BY ALL LIMIT 5",
    ),
  );
  for (const date of ["2026-03-28", "2026-03-29"]) {
    const [from, to] = [date, date].map((day, index) =>
      formatMicros(parseMicros(`${day}T00:00:00Z`) + index * 86_400e6)
    );
    for (const table of ["trades", "tickers", "heartbeats", "book_changes"]) {
      answers.set(
        `day ${date} ${table}`,
        await rows(clickhouse, `SELECT count() FROM ${table} WHERE ${inDay}`, { from, to }),
      );
    }
  }
}

async function askViews(clickhouse: ClickHouseClient, answers: Answers): Promise<void> {
  const views = await tuples<[string, string]>(
    clickhouse,
    `SELECT name, create_table_query FROM system.tables
     WHERE database = currentDatabase() AND engine = 'View' ORDER BY name`,
  );
  const thresholds = await readThresholds(clickhouse);
  for (const [index, { from, to }] of spans.entries()) {
    const parameters: Record<string, string | number> = {
      product: "'BTC-USD'",
      products: "['BTC-USD', 'ETH-USD']",
      from: `'${formatMicros(from)}'`,
      to: `'${formatMicros(to)}'`,
      at: `'${formatMicros(to - 120e6)}'`,
      interval: "'5m'",
      date: "'2026-03-29'",
      depth: 20,
      side: "'buy'",
      size: "'0.5'",
      ...thresholds,
    };
    for (const [name, query] of views) {
      const names = [...new Set([...query.matchAll(/\{(\w+):/g)].map(([, parameter = ""]) => parameter))];
      if (index > 0 && names.length === 0) continue;
      const values = names.map((parameter) => {
        assert(parameters[parameter] !== undefined, `${name}: what is ${parameter}?`);
        return `${parameter} = ${parameters[parameter]}`;
      });
      const call = names.length === 0 ? name : `${name}(${values.join(", ")})`;
      answers.set(`view ${name} ${index}`, (await rows(clickhouse, `SELECT * FROM ${call}`)).sort());
    }
  }
}

async function askQueries(clickhouse: ClickHouseClient, answers: Answers): Promise<void> {
  for (const query of await readQueries()) {
    // Bytes on the disk, which hold when a row was computed.
    if (query.name.startsWith("storage_by_")) continue;
    const given = query.parameters.filter((parameter) => parameter.default === undefined);
    assert.deepEqual(given.map(({ name }) => name).filter((name) => name !== "trade_id"), [], query.name);
    const values = bind(query, given.map(({ name }) => `${name}=1`));
    const bound = resolve(values, await newestMoments(clickhouse, values));
    let text = "";
    await answerQuery(clickhouse, query.statement, bound, "csv", (part) => {
      text += part;
      return Promise.resolve();
    });
    // Rows that are equal by what a query orders by come in any order.
    answers.set(`query ${query.name}`, text.split("\n").sort());
  }
}

interface Document {
  paths: Record<string, { get: { parameters?: { name: string; required?: boolean }[] } }>;
}

/** When a row was written differs; a time that isn't read in UTC would be hours before this test and stay. */
function withoutNow(text: string): string {
  return text.replace(
    /\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?/g,
    (time) => Date.parse(`${time.replace(" ", "T")}Z`) >= begunAt ? "now" : time,
  );
}

async function askApi(env: Record<string, string>, answers: Answers): Promise<void> {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const logFile = await Deno.makeTempFile({ prefix: "tapehouse-" });
  const api = await startProcess({
    name: "api",
    command: Deno.execPath(),
    args: ["run", "-q", "-P=api", "api.ts"],
    cwd: root,
    env: {
      ...env,
      API_PORT: String(port),
      METRICS_PORT: String(freePort()),
      API_RATE_PER_SECOND: "0",
      LOG_LEVEL: "error",
    },
    logFile,
    ready: async () => {
      const answer = await fetch(`${url}/openapi.json`);
      await answer.body?.cancel();
      return answer.ok;
    },
  });
  try {
    const document: Document = await (await fetch(`${url}/openapi.json`)).json();
    for (const [path, { get: { parameters = [] } }] of Object.entries(document.paths)) {
      // What happens now, of a tape that ended long ago.
      if (/status|health/.test(path)) continue;
      for (const { from, to } of spans) {
        const iso = (micros: number) => `${formatMicros(micros).replace(" ", "T")}Z`;
        const given: Record<string, string> = {
          product_id: "BTC-USD",
          from: iso(from),
          to: iso(to),
          at: iso(to - 120e6),
          interval: "15m",
        };
        const has = (name: string) => parameters.some((parameter) => parameter.name === name);
        for (const format of has("format") ? ["json", "csv"] : [""]) {
          const query = new URLSearchParams(Object.entries(given).filter(([name]) => has(name)));
          if (format !== "") query.set("format", format);
          const answer = await fetch(`${url}${path}?${query}`);
          const text = await answer.text();
          assert.equal(answer.status, 200, `${path}?${query}: ${text}`);
          answers.set(`API ${path}?${query}`, withoutNow(text).split(/\n|(?<=\}),/));
        }
      }
    }
  } finally {
    await api.stop();
    await Deno.remove(logFile);
  }
}
