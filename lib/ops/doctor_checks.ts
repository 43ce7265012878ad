/**
 * What `deno task doctor` looks at. What it makes of it: lib/ops/doctor_judgements.ts.
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError } from "@clickhouse/client";
import { clickhouseVariables, openClickHouse } from "../clickhouse/client.ts";
import { plan, readApplied } from "../clickhouse/migrations.ts";
import { readMigrations } from "../clickhouse/sql_files.ts";
import { ConfigError } from "../core/errors.ts";
import { nowMicros } from "../core/time.ts";
import { readConfig, type Variable, variables } from "../process/config.ts";
import { configured, explainMissingTable, once, readSoon, reasonOf, within } from "./doctor_tools.ts";
import { age, type Check, ok, trouble, warning } from "./doctor.ts";
import { lookAtBroker, lookAtGroup, lookAtRetention, lookAtTopics, openAdmin } from "./kafka_checks.ts";
import { compareCandles, compareTrades } from "./stored_tables.ts";
import {
  lookAtCompleteness,
  lookAtDisk,
  lookAtEvents,
  lookAtFreshness,
  lookAtGaps,
  lookAtParts,
  lookAtRejected,
} from "./tape_checks.ts";
import {
  type Clock,
  dayCount,
  judgeCandles,
  judgeClocks,
  judgeDoubles,
  judgeMigrations,
  judgeRuns,
} from "./doctor_judgements.ts";

/** Comparing days of large tables takes its time: another day is begun within the first, all ends within the second. */
const daysMs = 15_000;
const tablesMs = 60_000;

/** All checks, in the order in which a person would ask. */
export function createChecks(): Check[] {
  const admin = once(() => openAdmin());
  const clickhouse = once(() => openClickHouse(configured(clickhouseVariables)));

  /** Two checks look at it. */
  const trades = once(() => compareTrades(clickhouse(), lastMidnights().at(-1)!));

  /** A check that asks the database. */
  const ask = (
    name: string,
    look: (clickhouse: ClickHouseClient) => Promise<Awaited<ReturnType<Check["look"]>>>,
  ) => ({
    name,
    needs: "clickhouse",
    look: () => look(clickhouse()).catch(explainMissingTable),
  });

  return [
    { name: "environment", look: () => Promise.resolve(lookAtEnvironment()) },
    { name: "broker", look: () => lookAtBroker(admin) },
    { name: "topics", needs: "broker", look: async () => lookAtTopics(await admin()) },
    { name: "consumer", needs: "broker", look: async () => lookAtGroup(await openAdmin(), clickhouse()) },
    {
      name: "retention",
      needs: "broker",
      look: async () => lookAtRetention(await openAdmin(), clickhouse()),
    },
    { name: "clickhouse", look: () => lookAtClickHouse(clickhouse) },
    { name: "migrations", needs: "clickhouse", look: () => lookAtMigrations() },
    ask("freshness", lookAtFreshness),
    ask("gaps", lookAtGaps),
    ask("completeness", lookAtCompleteness),
    { ...ask("doubles", async () => judgeDoubles((await trades()).days)), limitMs: tablesMs },
    { ...ask("trade runs", async () => judgeRuns(await trades())), limitMs: tablesMs },
    {
      ...ask(
        "candles",
        async (client) => judgeCandles(await compareCandles(client, lastMidnights(), daysMs)),
      ),
      limitMs: tablesMs,
    },
    ask("rejected", lookAtRejected),
    ask("feed events", lookAtEvents),
    ask("disk", lookAtDisk),
    ask("parts", lookAtParts),
    ask("clocks", lookAtClocks),
    { name: "exchange", look: lookAtExchange },
  ];
}

function lookAtEnvironment() {
  const names = Object.keys(variables) as Variable[];
  try {
    readConfig(names);
    return ok("every variable is valid");
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return trouble(error.message.replaceAll("\n", "; "), "correct it; .env.example lists all variables");
  }
}

/** ClickHouse's clock and, when it is the real one, the exchange's, beside ours. */
async function lookAtClocks(client: ClickHouseClient) {
  const { COINBASE_REST_URL: url, FEED_SOURCE: source } = configured(["COINBASE_REST_URL", "FEED_SOURCE"]);
  const clickhouse = await readClock("ClickHouse", async () => {
    const [row] = await readSoon<[number]>(client, "SELECT toUnixTimestamp64Micro(now64(6, 'UTC'))");
    return (row?.[0] ?? 0) / 1e6;
  });
  if (source !== "feed") return judgeClocks([clickhouse]);
  const exchange = await readClock("the exchange", async () => {
    const response = await fetch(`${url}/time`, { signal: AbortSignal.timeout(3000) });
    return Number((await response.json()).epoch);
    // The check exchange tells that it doesn't answer.
  }).catch(() => undefined);
  return judgeClocks([
    clickhouse,
    ...(exchange === undefined || Number.isNaN(exchange.ahead) ? [] : [exchange]),
  ]);
}

/** The answer was made somewhere between the question and its arrival: in the middle, give or take. */
async function readClock(name: string, ask: () => Promise<number>): Promise<Clock> {
  let best: Clock | undefined;
  // The first connects.
  for (let round = 0; round < 3; round++) {
    const before = nowMicros() / 1e6;
    const theirs = await ask();
    const after = nowMicros() / 1e6;
    const within = (after - before) / 2;
    if (best === undefined || within < best.within) {
      best = { name, ahead: theirs - (before + within), within };
    }
  }
  return best!;
}

/** Midnights (UTC) of today and of the days before. */
function lastMidnights(): string[] {
  const today = Math.floor(Date.now() / 86_400_000) * 86_400_000;
  return Array.from(
    { length: dayCount },
    (_, index) => new Date(today - index * 86_400_000).toISOString().slice(0, 19).replace("T", " "),
  );
}

async function lookAtClickHouse(clickhouse: () => ClickHouseClient) {
  const config = configured(clickhouseVariables);
  // The database may not be there yet.
  const server = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  try {
    const [row] = await within(4500, readSoon<[string, number]>(server, "SELECT version(), uptime()"));
    clickhouse();
    return ok(`${config.CLICKHOUSE_URL} version ${row?.[0]}, up for ${age(row?.[1] ?? 0)}`);
  } catch (error) {
    const message = error instanceof Error ? error.message.split("\n")[0] : error;
    return trouble(
      `${config.CLICKHOUSE_URL}: ${message}`,
      error instanceof ClickHouseError
        ? "check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"
        : "start it (deno task dev, deno task up), or set CLICKHOUSE_URL",
    );
  }
}

async function lookAtMigrations() {
  const config = configured(clickhouseVariables);
  const server = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const [files, applied] = await Promise.all([
    readMigrations(),
    readApplied(server, config.CLICKHOUSE_DATABASE),
  ]);
  return judgeMigrations(config.CLICKHOUSE_DATABASE, applied.length, plan(files, applied));
}

async function lookAtExchange() {
  const { COINBASE_REST_URL: url } = configured(["COINBASE_REST_URL"]);
  const advice = "without it nothing new comes; COINBASE_REST_URL says where it is";
  try {
    const response = await fetch(`${url}/time`, { signal: AbortSignal.timeout(4500) });
    await response.body?.cancel();
    return response.ok ? ok(`${url} answers`) : warning(`${url}/time answers ${response.status}`, advice);
  } catch (error) {
    return warning(`${url}: ${reasonOf(error)}`, advice);
  }
}
