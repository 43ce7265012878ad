/**
 * `deno task replay`: a recording, or a part of the topics, into any database, through the consumer's own code. May be
 * stopped, killed and repeated: what is written is on record, and counts once.
 *
 * Exit codes: 0 all is replayed, 1 it can't be, 2 wrong arguments or environment, 130 stopped by Ctrl-C or SIGTERM.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { brokerVariables, openBroker } from "../lib/kafka/client.ts";
import { explainBrokerError } from "../lib/kafka/kafka_errors.ts";
import { speed } from "../lib/core/options.ts";
import { runTask } from "../lib/process/task.ts";
import { RecordingError } from "../lib/recording/recording.ts";
import { lookup, readConfig } from "../lib/process/config.ts";
import { combineDigests, readDigests } from "../lib/clickhouse/digest.ts";
import { assertNoKafkaEngine } from "../lib/clickhouse/kafka_engine.ts";
import { createLogger } from "../lib/process/log.ts";
import { listNames, migrate, plan, readApplied } from "../lib/clickhouse/migrations.ts";
import { tuples } from "../lib/clickhouse/rows.ts";
import { readMigrations } from "../lib/clickhouse/sql_files.ts";
import { bar, createProgressLine } from "../lib/process/progress.ts";
import { readAsTopic, recordingName } from "../lib/recording/as_messages.ts";
import { assertNotSimulated, replay, type Replayed } from "../lib/recording/replay_messages.ts";
import { tables } from "../lib/ingest/rows.ts";
import type { TopicMessage } from "../lib/kafka/message.ts";
import { FatalError } from "../lib/core/errors.ts";
import { stopOnSignal } from "../lib/process/stop_signal.ts";
import { type Bound, parseBound, planTopicRange, readTopicRange } from "../lib/kafka/topic_range.ts";
import { type ClickHouseConfig, clickhouseVariables, openClickHouse } from "../lib/clickhouse/client.ts";
import { assertNoConsumer } from "../lib/kafka/group_members.ts";

const program = new Command("deno task replay")
  .description(
    "Store a recording, or a part of the topics, once more: in any database, through the consumer's code.",
  )
  .addOption(new Option("--file <file>", "a recording: NDJSON, plain, .gz or .zst").conflicts("topic"))
  .option("--topic", "KAFKA_TOPIC and KAFKA_LEVEL2_TOPIC")
  .option("--from <place>", "with --topic: the first offset, or a time such as 2026-07-07T22:58:17Z", bound)
  .option("--to <place>", "with --topic: where to end, not included", bound)
  .option("--database <name>", "where to; made when it isn't there (default: CLICKHOUSE_DATABASE)")
  .option("--speed <number>", "times as fast as received, or max", speed, Infinity)
  .option("--digest-only", "replay nothing, print the digest of the database")
  .allowExcessArguments(false)
  .exitOverride();

const log = createLogger({ task: "replay" }, { level: "warn" });

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const { file, topic, from, to, digestOnly } = options;
  if (digestOnly ? file !== undefined || topic : file === undefined && !topic) {
    program.error("error: expected --file FILE, --topic or --digest-only");
  }
  if (!topic && (from !== undefined || to !== undefined)) {
    program.error("error: --from and --to need --topic");
  }
  // --database wins over the environment.
  const chosen = options.database === undefined ? {} : { CLICKHOUSE_DATABASE: options.database };
  const config = readConfig(
    [...clickhouseVariables, "CLICKHOUSE_CLUSTER", "CONSUMER_BATCH_ROWS"],
    lookup(chosen),
  );
  const stop = stopOnSignal().signal;
  const clickhouse = openClickHouse(config);
  try {
    if (!digestOnly) {
      await prepareDatabase(config);
      const read = file === undefined
        ? await openTopics(config.CLICKHOUSE_DATABASE, from, to, stop)
        : await openFile(file, config.CLICKHOUSE_DATABASE);
      const progress = createProgressLine();
      const startedAt = performance.now();
      const replayed = await replay({
        ...read,
        clickhouse,
        maxRows: config.CONSUMER_BATCH_ROWS,
        speed: options.speed,
        signal: stop,
        onProgress: (now) => progress.show(() => `${bar(read.fraction())}  ${summary(now, startedAt)}`),
        onError: (what, error, waitMs) =>
          log.error("ClickHouse didn't confirm, trying again", { what, error, wait_ms: Math.round(waitMs) }),
      }).finally(() => progress.end());
      console.log(summary(replayed, startedAt));
      await printCounts(clickhouse, replayed);
      if (!replayed.complete) {
        console.log("stopped; the same command goes on from here");
        return 130;
      }
    }
    await printDigest(clickhouse, config.CLICKHOUSE_DATABASE);
  } catch (error) {
    throw error instanceof RecordingError ? new FatalError(error.message) : explainBrokerError(error);
  } finally {
    await clickhouse.close();
  }
});

/** What is read, under which name its progress is on record, and how far it is. */
interface Reading {
  messages: AsyncIterable<TopicMessage>;
  nameOf: (topic: string) => string;
  fraction: () => number;
}

async function openFile(path: string, database: string): Promise<Reading> {
  const { size } = await Deno.stat(path).catch(() => {
    throw new FatalError(`${path}: no such file`);
  });
  const name = await recordingName(path);
  let read = 0;
  const messages = readAsTopic(path, {
    onSource: (source) => assertNotSimulated(source, database),
    onRead: (bytes) => read = bytes,
    onTorn: () =>
      console.log(`${path} ends in the middle of a frame: its recorder was killed, or still writes`),
  });
  return { messages, nameOf: () => name, fraction: () => read / size };
}

async function openTopics(
  database: string,
  from: Bound | undefined,
  to: Bound | undefined,
  signal: AbortSignal,
): Promise<Reading> {
  const config = readConfig([
    ...brokerVariables,
    "KAFKA_TOPIC",
    "KAFKA_LEVEL2_TOPIC",
    "KAFKA_GROUP",
    "CLICKHOUSE_DATABASE",
  ]);
  const kafka = openBroker(config, "replay", createLogger({ task: "replay" }, { level: "error" }));
  const admin = kafka.admin();
  const ranges = await admin.connect().then(async () => {
    if (database === config.CLICKHOUSE_DATABASE) {
      await assertNoConsumer(admin, {
        group: config.KAFKA_GROUP,
        database,
        advice: "stop it first, or choose another --database",
      });
    }
    return await planTopicRange(admin, [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC], from, to);
  }).catch((error) => {
    const explained = explainBrokerError(error);
    if (explained instanceof FatalError) throw explained;
    throw new FatalError(`Kafka at ${config.KAFKA_BROKERS.join(",")} (KAFKA_BROKERS): ${error.message}`);
  }).finally(() => admin.disconnect());
  const total = ranges.reduce((sum, { first, end }) => sum + end - first, 0);
  let read = 0;
  async function* messages() {
    for await (const message of readTopicRange(kafka, ranges, signal)) {
      assertNotSimulated(message.source, database);
      read++;
      yield message;
    }
  }
  return { messages: messages(), nameOf: (topic) => `topic ${topic}`, fraction: () => read / total };
}

/** A new database gets the schema; one that lacks some of it is its owner's business. */
async function prepareDatabase(config: ClickHouseConfig): Promise<void> {
  const database = config.CLICKHOUSE_DATABASE;
  const clickhouse = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const applied = await assertNoKafkaEngine(clickhouse, database).then(() =>
    readApplied(clickhouse, database)
  )
    .catch((error) => {
      if (error instanceof FatalError) throw error;
      throw new FatalError(`ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL): ${error.message}`);
    }).finally(() => clickhouse.close());
  if (applied.length === 0) {
    const count = await migrate(config, () => {});
    return console.log(`database ${database} is new: ${count} migrations applied`);
  }
  const { pending, problems } = plan(await readMigrations(), applied);
  if (problems[0] !== undefined) throw new FatalError(problems[0]);
  if (pending.length > 0) {
    throw new FatalError(
      `Database ${database} lacks ${listNames(pending)}: ` +
        `run \`CLICKHOUSE_DATABASE=${database} deno task migrate\` first.`,
    );
  }
}

function summary({ messages, writtenBefore, repeatedTrades }: Replayed, startedAt: number): string {
  const seconds = (performance.now() - startedAt) / 1000;
  return `${messages} messages in ${seconds.toFixed(1)} s (${Math.round(messages / seconds)}/s), ` +
    `${writtenBefore} of them written by an earlier replay, ${repeatedTrades} trades stored already`;
}

async function printCounts(clickhouse: ClickHouseClient, { rows }: Replayed): Promise<void> {
  console.log(`\n${"table".padEnd(16)}${"new rows".padStart(12)}${"in database".padStart(14)}`);
  for (const table of tables) {
    const [[count] = []] = await tuples<[number]>(clickhouse, `SELECT count() FROM ${table}`);
    console.log(`${table.padEnd(16)}${String(rows[table] ?? 0).padStart(12)}${String(count).padStart(14)}`);
  }
}

async function printDigest(clickhouse: ClickHouseClient, database: string): Promise<void> {
  const digests = await readDigests(clickhouse).catch((error) => {
    throw new FatalError(`Database ${database} can't be digested: ${error.message}`);
  });
  console.log(`\n${"digest of".padEnd(16)}${"rows".padStart(12)}  hash`);
  for (const { name, rows, hash } of digests) {
    console.log(`${name.padEnd(16)}${String(rows).padStart(12)}  ${hash}`);
  }
  console.log(`digest ${await combineDigests(digests)}`);
}

function bound(text: string): Bound {
  const found = parseBound(text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError("Expected an offset such as 1000 or a time such as 2026-07-07T22:58:17Z.");
}
