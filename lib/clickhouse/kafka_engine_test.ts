import assert from "node:assert/strict";
import type { Committed } from "../kafka/offsets.ts";
import { readConfig } from "../process/config.ts";
import {
  engineGroup,
  engineSettings,
  engineVariables,
  fillIn,
  offsetsToMove,
  readEngineStatements,
} from "./kafka_engine.ts";

const configured = (env: Record<string, string>) => ({
  ...readConfig(engineVariables, (name) => env[name]),
  CLICKHOUSE_DATABASE: "market",
});

Deno.test("kafka engine: the engine's settings come from KAFKA_*, and credentials only with a mechanism", () => {
  const cases: [Record<string, string>, string, string, string][] = [
    [{}, "plaintext", "", ""],
    [{ KAFKA_USERNAME: "unused" }, "plaintext", "", ""],
    [{ KAFKA_TLS: "true" }, "ssl", "", ""],
    [{ KAFKA_SASL_MECHANISM: "plain", KAFKA_USERNAME: "me" }, "sasl_plaintext", "PLAIN", "me"],
    [
      { KAFKA_SASL_MECHANISM: "scram-sha-512", KAFKA_USERNAME: "me", KAFKA_TLS: "true" },
      "sasl_ssl",
      "SCRAM-SHA-512",
      "me",
    ],
  ];
  for (const [env, protocol, mechanism, username] of cases) {
    const settings = engineSettings(configured(env));
    assert.deepEqual([settings.protocol, settings.mechanism, settings.username], [
      protocol,
      mechanism,
      username,
    ]);
  }
  const settings = engineSettings(configured({ KAFKA_BROKERS: "a:1,b:2", KAFKA_GROUP: "g" }));
  assert.equal(settings.brokers, "a:1,b:2");
  assert.equal(settings.group, engineGroup("g"));
  assert.equal(settings.topics, "coinbase_market_data,coinbase_level2");
});

Deno.test("kafka engine: a value becomes an SQL string that can't end early; other braces stay", () => {
  const values = { password: "a'b\\c" };
  assert.equal(
    fillIn("x = {password}, '\\\\d{1,2}\\\\x{feff}'", values),
    "x = 'a\\'b\\\\c', '\\\\d{1,2}\\\\x{feff}'",
  );
});

Deno.test("kafka engine: nothing is left to fill in, and the view that makes the engine read is made last", async () => {
  const statements = await readEngineStatements(configured({}));
  for (const statement of statements) {
    assert.doesNotMatch(statement, /\{(brokers|topics|group|protocol|mechanism|username|password)\}/);
  }
  const names = statements.map((statement) =>
    /^CREATE (?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS (\w+)/m.exec(statement)?.[1] ?? statement
  );
  assert.equal(names.at(0), "kafka_engine_frames");
  assert.deepEqual(names.slice(-2), ["kafka_engine_messages", "kafka_engine_messages_mv"]);
  assert.ok(names.every((name) => /^kafka_engine_\w+$/.test(name)), names.join());
});

Deno.test("kafka engine: a group is only moved forward", () => {
  const group = (offsets: number[]) =>
    new Map(offsets.map((offset, partition): [number, Committed] => [partition, { offset }]));
  assert.deepEqual(offsetsToMove(group([5, -1, 7, 3]), group([-1, -1, 7, 4])), [{ partition: 0, offset: 5 }]);
  assert.deepEqual(offsetsToMove(group([5, 1]), new Map()), [
    { partition: 0, offset: 5 },
    { partition: 1, offset: 1 },
  ]);
});
