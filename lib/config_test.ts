import assert from "node:assert/strict";
import { ConfigError, readConfig, type Variable, variables } from "./config.ts";

const names = Object.keys(variables) as Variable[];
const lookup = (values: Record<string, string>) => (name: string) => values[name];

Deno.test("every variable but METRICS_PORT has a default that is valid", () => {
  const config = readConfig(names, lookup({}));
  const unset = names.filter((name) => config[name] === undefined);
  assert.deepEqual(unset, ["METRICS_PORT"]);
});

Deno.test(".env.example lists every variable with its default, and nothing else", async () => {
  const text = await Deno.readTextFile(new URL("../.env.example", import.meta.url));
  const listed = new Map(
    [...text.matchAll(/^#?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map((match) => [match[1] ?? "", match[2] ?? ""]),
  );
  const optional = ["METRICS_PORT"];
  assert.deepEqual([...listed.keys()].filter((name) => name in variables).sort(), [...names].sort());
  const fromExample = readConfig(names, (name) => optional.includes(name) ? undefined : listed.get(name));
  assert.deepEqual(fromExample, readConfig(names, lookup({})));
});

Deno.test("README's table names every variable with its default", async () => {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const listed = new Map(
    [...readme.matchAll(/^\| `([A-Z_0-9]+)` +\| (.*?) +\|/gm)].map(([, name, value]) => [name, value]),
  );
  for (const name of names) {
    if (["METRICS_PORT", "KAFKA_USERNAME", "KAFKA_PASSWORD", "CLICKHOUSE_PASSWORD"].includes(name)) {
      assert.ok(readme.includes(`\`${name}\``), name);
    } else {
      assert.ok(listed.has(name), name);
      assert.deepEqual(readConfig([name], () => listed.get(name)), readConfig([name], lookup({})), name);
    }
  }
});

Deno.test("a wrong value is answered with the variable, the value and what is allowed, a line each", () => {
  const cases: [Variable, string, string][] = [
    ["COINBASE_WS_URL", "http://x", "expected a URL that starts with ws:// or wss://"],
    ["COINBASE_PRODUCTS", "btc", "expected product ids separated by commas, such as BTC-USD,ETH-USD"],
    ["COINBASE_PRODUCTS", ",", "expected product ids separated by commas, such as BTC-USD,ETH-USD"],
    [
      "COINBASE_CHANNELS",
      "level3",
      "expected channels separated by commas, of ticker, ticker_batch, matches, heartbeat, status, level2_batch",
    ],
    ["KAFKA_BROKERS", "localhost", "expected host:port, several separated by commas"],
    ["KAFKA_PARTITIONS", "0", "expected a whole number from 1 to 1000"],
    ["KAFKA_TLS", "yes", 'invalid option: expected one of "false"|"true"'],
    ["CLICKHOUSE_DATABASE", "market;drop", "expected letters, digits or _"],
    ["METRICS_PORT", "65536", "expected a whole number from 1 to 65535"],
    ["METRICS_PORT", "1e3", "expected a whole number from 1 to 65535"],
  ];
  for (const [name, value, expected] of cases) {
    assert.throws(
      () => readConfig([name], lookup({ [name]: value })),
      new ConfigError(`${name}=${value}: ${expected}`),
    );
  }
  assert.throws(
    () => readConfig(["KAFKA_PARTITIONS", "KAFKA_TLS"], lookup({ KAFKA_PARTITIONS: "x", KAFKA_TLS: "x" })),
    (error: Error) => error.message.split("\n").length === 2,
  );
});

Deno.test("an empty value counts as not set, and a list loses its doubles", () => {
  assert.equal(
    readConfig(["CLICKHOUSE_DATABASE"], lookup({ CLICKHOUSE_DATABASE: "" })).CLICKHOUSE_DATABASE,
    "market",
  );
  const { COINBASE_PRODUCTS } = readConfig(
    ["COINBASE_PRODUCTS"],
    lookup({ COINBASE_PRODUCTS: "A-B, C-D,A-B" }),
  );
  assert.deepEqual(COINBASE_PRODUCTS, ["A-B", "C-D"]);
});

Deno.test("a password is never printed", () => {
  // Every password is accepted as it is, so no message can repeat one.
  for (const name of names.filter((name) => /PASSWORD|SECRET/.test(name))) {
    assert.equal(readConfig([name], lookup({ [name]: "  any\tthing'\" " }))[name], "  any\tthing'\" ");
  }
});
