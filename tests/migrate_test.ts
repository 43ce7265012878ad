/**
 * `deno task migrate` and `deno task topics` as commands, against real servers.
 *
 * @module
 */

import assert from "node:assert/strict";
import { freePort } from "../embedded/ports.ts";
import { openWarehouse } from "../lib/warehouse.ts";
import { readConfig, type Variable, variables } from "../lib/config.ts";
import { openBroker } from "../lib/broker.ts";
import { createLogger } from "../lib/log.ts";
import { root, type Servers, startServers } from "./tape.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

const names = Object.keys(variables) as Variable[];

async function task(
  name: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", `-P=${name}`, `tasks/${name}.ts`, ...args],
    cwd: root,
    env: {
      CLICKHOUSE_URL: servers.clickhouse.url,
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
  assert.match((await task("migrate", ["--status"], env)).out, /^001_trades {2}pending$/m);

  const first = await task("migrate", [], env);
  assert.equal(first.code, 0, first.err);
  assert.match(first.out, /^applied 001_trades$/m);
  const second = await task("migrate", [], env);
  assert.match(second.out, /^database fresh: 0 applied, \d+ were there\n$/);
  assert.match((await task("migrate", ["--status"], env)).out, /^001_trades {2}\d{4}-\d\d-\d\d /m);
});

Deno.test("migrate: a file that was changed after it was applied is refused by name, and nothing else is done", async () => {
  const env = { CLICKHOUSE_DATABASE: "changed" };
  await task("migrate", [], env);
  const config = readConfig(names, (name) => name === "CLICKHOUSE_URL" ? servers.clickhouse.url : undefined);
  const warehouse = openWarehouse({ ...config, CLICKHOUSE_DATABASE: "changed" });
  await warehouse.command({ query: "TRUNCATE TABLE migrations" });
  await warehouse.insert({
    table: "migrations",
    values: [{ name: "001_trades", checksum: "of another text" }],
    format: "JSONEachRow",
  });
  for (const args of [[], ["--status"], ["--dry-run"]]) {
    const refused = await task("migrate", args, env);
    assert.equal(refused.code, 1, refused.out);
    assert.match(refused.err, /^sql\/001_trades.sql was changed after it was applied on .*next number\.\n$/);
  }
  await warehouse.close();
});

Deno.test("the consumer says which migrations are missing, and what to run, instead of starting", async () => {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-P=consumer", "consumer.ts"],
    cwd: root,
    env: {
      CLICKHOUSE_URL: servers.clickhouse.url,
      CLICKHOUSE_DATABASE: "nothing_here",
      KAFKA_BROKERS: servers.kafka.brokers,
      METRICS_PORT: String(freePort()),
    },
  }).output();
  assert.equal(output.code, 1);
  const last = new TextDecoder().decode(output.stderr).trim().split("\n").at(-1) ?? "";
  assert.match(
    JSON.parse(last).message,
    /^Database nothing_here lacks 001_trades, .*: run `deno task migrate` first\.$/,
  );
});

Deno.test("topics: created, then altered to what is configured, then left alone", async () => {
  const env = { KAFKA_TOPIC: "a", KAFKA_LEVEL2_TOPIC: "b", KAFKA_PARTITIONS: "2" };
  const dry = await task("topics", ["--dry-run"], env);
  assert.equal(dry.out, "a: created with 2 partitions\nb: created with 2 partitions\nnothing was done\n");
  assert.equal(
    (await task("topics", [], env)).out,
    "a: created with 2 partitions\nb: created with 2 partitions\n",
  );
  assert.equal((await task("topics", [], env)).out, "the topics are as they should be\n");
  const changed = await task("topics", [], { ...env, KAFKA_PARTITIONS: "3", KAFKA_RETENTION_HOURS: "24" });
  assert.match(changed.out, /^a: partitions 2 → 3$/m);
  assert.match(changed.out, /^b: retention\.ms 604800000 → 86400000$/m);

  const config = readConfig(names, (name) => name === "KAFKA_BROKERS" ? servers.kafka.brokers : undefined);
  const admin = openBroker(config, "test", createLogger({}, { level: "error" })).admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: ["a"] });
  await admin.disconnect();
  assert.equal(topics[0]?.partitions.length, 3);
});

Deno.test("a server that isn't there is named with its variable, exit code 1", async () => {
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
