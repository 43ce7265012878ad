/**
 * `deno task migrate` and `deno task topics` as commands, against real servers.
 *
 * @module
 */

import assert from "node:assert/strict";
import { freePort } from "../../embedded/process/ports.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { createLogger } from "../../lib/process/log.ts";
import { root, type Servers, startServers } from "../support/tape.ts";
import { configOf } from "../support/config.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

async function task(
  name: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", `-P=${name}`, `tasks/${name}.ts`, ...args],
    cwd: root,
    env: {
      ...servers.clickhouse.env,
      KAFKA_BROKERS: servers.kafka.brokers,
      NO_COLOR: "1",
      ...env,
    },
  }).output();
  const decoder = new TextDecoder();
  return { code: output.code, out: decoder.decode(output.stdout), err: decoder.decode(output.stderr) };
}

Deno.test("migrate: nothing by --dry-run, everything at the first run, nothing at the second", async () => {
  const env = { CLICKHOUSE_DATABASE: "fresh" };
  const dry = await task("migrate", ["--dry-run"], env);
  assert.equal(dry.code, 0, dry.err);
  assert.match(dry.out, /CREATE TABLE IF NOT EXISTS trades/);
  assert.match(dry.out, /to apply to fresh; nothing was done\n$/);
  assert.match((await task("migrate", ["--status"], env)).out, /^tables\/001_trades {2}pending$/m);

  const first = await task("migrate", [], env);
  assert.equal(first.code, 0, first.err);
  assert.match(first.out, /^applied tables\/001_trades$/m);
  const second = await task("migrate", [], env);
  assert.match(second.out, /^database fresh: 0 applied, \d+ were there\n$/);
  assert.match((await task("migrate", ["--status"], env)).out, /^tables\/001_trades {2}\d{4}-\d\d-\d\d /m);
});

Deno.test("migrate: a file that was changed after it was applied is refused by name, and nothing else is done", async () => {
  const env = { CLICKHOUSE_DATABASE: "changed" };
  await task("migrate", [], env);
  const config = configOf(servers.clickhouse.env);
  const clickhouse = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "changed" });
  await clickhouse.command({ query: "TRUNCATE TABLE migrations" });
  await clickhouse.insert({
    table: "migrations",
    values: [{ name: "tables/001_trades", checksum: "of another text" }],
    format: "JSONEachRow",
  });
  for (const args of [[], ["--status"], ["--dry-run"]]) {
    const refused = await task("migrate", args, env);
    assert.equal(refused.code, 1, refused.out);
    assert.match(
      refused.err,
      /^sql\/tables\/001_trades.sql was changed after it was applied on .*next number\.\n$/,
    );
  }
  await clickhouse.close();
});

Deno.test("migrate: --print shows the whole schema without a server, with CLICKHOUSE_CLUSTER in its cluster form", async () => {
  const away = { CLICKHOUSE_URL: "http://127.0.0.1:1" };
  const { code, out } = await task("migrate", ["--print"], away);
  assert.equal(code, 0);
  assert.match(out, /^-- sql\/tables\/001_trades\.sql\n\n-- [^]*\nCREATE TABLE IF NOT EXISTS trades\n/);
  assert.match(out, /^CREATE OR REPLACE VIEW completeness AS$/m);
  const cluster = await task("migrate", ["--print"], { ...away, CLICKHOUSE_CLUSTER: "tape" });
  assert.match(cluster.out, /^CREATE TABLE IF NOT EXISTS trades_local ON CLUSTER tape$/m);
});

Deno.test("migrate: a view that somebody changed in ClickHouse or in the file's record is made again, tables stay", async () => {
  const env = { CLICKHOUSE_DATABASE: "older_view" };
  await task("migrate", [], env);
  const config = configOf({ ...servers.clickhouse.env, ...env });
  const clickhouse = openClickHouse(config);
  await clickhouse.command({ query: "CREATE OR REPLACE VIEW trade_fills AS SELECT 1 AS of_another_version" });
  await clickhouse.insert({
    table: "migrations",
    values: [{ name: "views/trade_fills", checksum: "of another version" }],
    format: "JSONEachRow",
  });
  assert.match(
    (await task("migrate", ["--status"], env)).out,
    /^views\/trade_fills {2}pending, as it was changed after /m,
  );
  assert.match(
    (await task("migrate", [], env)).out,
    /^applied views\/trade_fills\ndatabase older_view: 1 applied, /,
  );
  const answer = await clickhouse.query({ query: "SELECT count() FROM trade_fills", format: "TabSeparated" });
  assert.equal(await answer.text(), "0\n");
  await clickhouse.close();
});

Deno.test("consumer: it says which migrations are missing, and what to run, instead of starting", async () => {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-P=consumer", "consumer.ts"],
    cwd: root,
    env: {
      ...servers.clickhouse.env,
      CLICKHOUSE_DATABASE: "nothing_here",
      KAFKA_BROKERS: servers.kafka.brokers,
      METRICS_PORT: String(freePort()),
    },
  }).output();
  assert.equal(output.code, 1);
  const last = new TextDecoder().decode(output.stderr).trim().split("\n").at(-1) ?? "";
  assert.match(
    JSON.parse(last).message,
    /^Database nothing_here lacks tables\/001_trades, .* and \d+ more: run `deno task migrate` first\.$/,
  );
});

Deno.test("topics: created, then altered to what is configured, then left alone", async () => {
  const env = { KAFKA_TOPIC: "a", KAFKA_LEVEL2_TOPIC: "b", KAFKA_PARTITIONS: "2" };
  const dry = await task("topics", ["--dry-run"], env);
  assert.equal(
    dry.out,
    "a: created with 2 partitions, 1 copy each\nb: created with 2 partitions, 1 copy each\nnothing was done\n",
  );
  assert.equal(
    (await task("topics", [], env)).out,
    "a: created with 2 partitions, 1 copy each\nb: created with 2 partitions, 1 copy each\n",
  );
  assert.equal((await task("topics", [], env)).out, "the topics are as they should be\n");
  const changed = await task("topics", [], { ...env, KAFKA_PARTITIONS: "3", KAFKA_RETENTION_HOURS: "24" });
  assert.match(changed.out, /^a: partitions 2 → 3$/m);
  assert.match(changed.out, /^b: retention\.ms 604800000 → 86400000$/m);

  const config = configOf({ KAFKA_BROKERS: servers.kafka.brokers });
  const admin = openBroker(config, "test", createLogger({}, { level: "error" })).admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: ["a"] });
  await admin.disconnect();
  assert.equal(topics[0]?.partitions.length, 3);
});

Deno.test("migrate: a server that isn't there is named with its variable, exit code 1", async () => {
  const clickhouse = await task("migrate", [], { CLICKHOUSE_URL: "http://127.0.0.1:1" });
  assert.equal(clickhouse.code, 1);
  assert.match(
    clickhouse.err,
    /^ClickHouse at http:\/\/127\.0\.0\.1:1 \(CLICKHOUSE_URL\): .*ECONNREFUSED.*\n$/,
  );
  const kafka = await task("topics", [], { KAFKA_BROKERS: "127.0.0.1:1" });
  assert.equal(kafka.code, 1);
  assert.match(kafka.err, /^Kafka at 127\.0\.0\.1:1 \(KAFKA_BROKERS\): .*ECONNREFUSED.*\n$/);
});
