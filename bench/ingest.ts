/**
 * `deno task bench ingest`: how fast what is in Kafka becomes rows of ClickHouse, by consumer.ts, by what a user would take
 * instead, and by nobody: prepared blocks are the limit. All read the same messages into the same tables with the same
 * views, in turn, so that what they say of one another holds although the machine gets faster and slower.
 *
 * @module
 */

import { tuples } from "../lib/clickhouse/rows.ts";
import { FatalError } from "../lib/core/errors.ts";
import { sleep } from "../lib/core/retry.ts";
import { type Table, tables } from "../lib/ingest/rows.ts";
import { kafkaVersion } from "../embedded/kafka/install.ts";
import { installJars } from "../tests/support/dev_run.ts";
import { type Servers, startServers, type Tape, withTape } from "../tests/support/tape.ts";
import { type Filled, fillTopics } from "./ingest/market.ts";
import { engine, limit, loop, ours, plainEngine, readBlocks, rowByRow, type Way } from "./ingest/ways.ts";
import type { MarketOptions } from "./market.ts";
import { cpuSeconds } from "./process_usage.ts";
import { engineVersion, type Measured, median, ratio, type Row, spread } from "./results.ts";

/** What is measured. */
export interface IngestOptions extends Omit<MarketOptions, "matchesOnly"> {
  /** How often each way has its turn. */
  rounds: number;
}

/** What a turn came to. */
interface Turn {
  rowsPerSecond: number;
  /** CPU µs a row. */
  cpu: { ClickHouse: number; client: number; Kafka: number };
}

/** Nothing takes so long unless it hangs. */
const hangMs = 600_000;

/** Measures trades alone, and all that the feed says. */
export async function benchIngest(options: IngestOptions): Promise<Measured> {
  await installJars();
  const servers = await startServers();
  try {
    const tables: Record<string, Row[]> = {};
    for (const matchesOnly of [true, false]) {
      tables[matchesOnly ? "trades" : "mix"] = await measureMarket(servers, { ...options, matchesOnly });
    }
    return { versions: await versionsOf(servers), tables };
  } finally {
    await servers.stop();
  }
}

async function versionsOf(servers: Servers): Promise<Record<string, string>> {
  const versions: Record<string, string> = { "Apache Kafka": kafkaVersion };
  await withTape(servers, {}, async ({ clickhouse }) => {
    versions.ClickHouse = await engineVersion(clickhouse);
  });
  return versions;
}

async function measureMarket(servers: Servers, options: IngestOptions & MarketOptions): Promise<Row[]> {
  const name = options.matchesOnly ? "trades" : "mix";
  const topics = { KAFKA_TOPIC: `bench_${name}_market`, KAFKA_LEVEL2_TOPIC: `bench_${name}_level2` };
  let filled!: Filled;
  let ways: Way[] = [];
  await withTape(servers, topics, async (tape) => {
    filled = await fillTopics(tape.config, options);
    console.log(`${name}: ${filled.messages} messages, ${sum(filled.rows)} rows`);
    // The first turn, which isn't counted: its rows become the blocks of the limit.
    await takeTurn(servers, tape, ours, filled);
    const rivals = options.matchesOnly ? [engine, plainEngine] : [engine];
    ways = [ours, ...rivals, loop, rowByRow, limit(await readBlocks(tape))];
  });
  const turns = new Map(ways.map((way): [Way, Turn[]] => [way, []]));
  for (let round = 1; round <= options.rounds; round++) {
    for (const way of ways) {
      await withTape(servers, topics, async (tape) => {
        const turn = await takeTurn(servers, tape, way, filled);
        turns.get(way)?.push(turn);
        console.log(`round ${round}, ${way.name}: ${Math.round(turn.rowsPerSecond)} rows/s`);
      });
    }
  }
  return [...turns].map(([way, own]) => rowOf(way, own, turns.get(ours) ?? []));
}

/** From the first row that is there to the last: start and joining of a group don't count. */
async function takeTurn(servers: Servers, tape: Tape, way: Way, filled: Filled): Promise<Turn> {
  const wanted = Math.ceil(sum(filled.rows) * (way.share ?? 1));
  const used = () => ({
    ClickHouse: cpuSeconds(servers.clickhouse.pid),
    Kafka: cpuSeconds(servers.kafka.pid),
  });
  const before = used();
  const running = await way.begin(tape);
  let first: { rows: number; at: number } | undefined;
  try {
    for (const deadline = performance.now() + hangMs;;) {
      const rows = await countRows(tape);
      const at = performance.now();
      if (rows > 0) first ??= { rows, at };
      if (first !== undefined && rows >= wanted) {
        if (at === first.at) {
          throw new FatalError(`${way.name} has stored all at once: more messages are needed (--messages)`);
        }
        const after = used();
        const client = running.pid === undefined ? 0 : cpuSeconds(running.pid);
        const perRow = (seconds: number) => 1e6 * seconds / rows;
        return {
          rowsPerSecond: (rows - first.rows) / (at - first.at) * 1000,
          cpu: {
            ClickHouse: perRow(after.ClickHouse - before.ClickHouse),
            client: perRow(client),
            Kafka: perRow(after.Kafka - before.Kafka),
          },
        };
      }
      if (at > deadline) throw new Error(`${way.name} has stored ${rows} of ${wanted} rows and hangs`);
      await sleep(50);
    }
  } finally {
    await running.stop();
  }
}

async function countRows({ clickhouse }: Tape): Promise<number> {
  const [[rows = 0] = []] = await tuples<[rows: number]>(
    clickhouse,
    `SELECT sum(rows) FROM system.parts
     WHERE active AND database = currentDatabase() AND table IN ({tables:Array(String)})`,
    { tables: counted },
  );
  return rows;
}

/** Merges keep every row of these. */
const counted = tables.filter((table) => table !== "products_state");

const sum = (rows: Record<Table, number>) => counted.reduce((total, table) => total + rows[table], 0);

function rowOf(way: Way, turns: readonly Turn[], own: readonly Turn[]): Row {
  const rates = turns.map(({ rowsPerSecond }) => rowsPerSecond);
  const ratios = rates.map((rate, round) => (own[round]?.rowsPerSecond ?? NaN) / rate);
  const cpu = (of: keyof Turn["cpu"]) => Number(median(turns.map((turn) => turn.cpu[of])).toFixed(1));
  return {
    way: way.name,
    "rows/s": Math.round(median(rates)),
    "slowest–fastest": spread(rates.map(Math.round)),
    "consumer.ts ÷ it": ratio(median(ratios)),
    "of single rounds": spread(ratios.map(ratio)),
    "CPU µs a row: ClickHouse": cpu("ClickHouse"),
    client: cpu("client"),
    Kafka: cpu("Kafka"),
  };
}
