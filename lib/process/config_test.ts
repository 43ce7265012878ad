import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { announceAccess } from "../../embedded/clickhouse/password.ts";
import { lookup as lookupIn, readConfig, type Variable, variables } from "./config.ts";
import { ConfigError } from "../core/errors.ts";

const names = Object.keys(variables) as Variable[];
const lookup = (values: Record<string, string>) => (name: string) => values[name];

Deno.test("config: every variable but METRICS_PORT has a default that is valid", () => {
  const config = readConfig(names, lookup({}));
  const unset = names.filter((name) => config[name] === undefined);
  assert.deepEqual(unset, ["METRICS_PORT"]);
});

Deno.test("config: .env.example lists every variable with its default, and nothing else", async () => {
  const text = await Deno.readTextFile(new URL("../../.env.example", import.meta.url));
  const listed = new Map(
    [...text.matchAll(/^#?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map((match) => [match[1] ?? "", match[2] ?? ""]),
  );
  const optional = ["METRICS_PORT"];
  assert.deepEqual([...listed.keys()].filter((name) => name in variables).sort(), [...names].sort());
  const fromExample = readConfig(names, (name) => optional.includes(name) ? undefined : listed.get(name));
  assert.deepEqual(fromExample, readConfig(names, lookup({})));
});

Deno.test("config: docs/configuration.md names every variable with its default", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/configuration.md", import.meta.url));
  const listed = new Map(
    [...page.matchAll(/^\| `([A-Z_0-9]+)` +\| (.*?) +\|/gm)].map(([, name, value]) => [name, value]),
  );
  for (const name of names) {
    if (["METRICS_PORT", "KAFKA_USERNAME", "KAFKA_PASSWORD", "CLICKHOUSE_PASSWORD"].includes(name)) {
      assert.ok(page.includes(`\`${name}\``), name);
    } else {
      assert.ok(listed.has(name), name);
      assert.deepEqual(readConfig([name], () => listed.get(name)), readConfig([name], lookup({})), name);
    }
  }
});

Deno.test("config: a wrong value is answered with the variable, the value and what is allowed, a line each", () => {
  const cases: [Variable, string, string][] = [
    ["COINBASE_WS_URL", "http://x", "expected a URL that starts with ws:// or wss://"],
    ["COINBASE_PRODUCTS", "btc", "expected product ids separated by commas, such as BTC-USD,ETH-USD"],
    ["COINBASE_PRODUCTS", ",", "expected product ids separated by commas, such as BTC-USD,ETH-USD"],
    [
      "COINBASE_CHANNELS",
      "level3",
      "expected channels separated by commas, of ticker, ticker_batch, matches, heartbeat, status, level2_batch",
    ],
    [
      "KAFKA_BROKERS",
      "localhost",
      "expected host:port, several separated by commas; an IPv6 address stands in brackets, such as [::1]:9092",
    ],
    ["KAFKA_MAX_MESSAGE_BYTES", "65535", "expected a whole number from 65536 to 1000000000"],
    ["KAFKA_MANAGE_TOPICS", "no", 'invalid option: expected one of "false"|"true"'],
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

Deno.test("config: an empty value counts as not set, and a list loses its doubles", () => {
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

Deno.test("config: user and password of the embedded ClickHouse are known for its address, and for no other", async () => {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-config-" });
  const read = (env: Record<string, string>) => {
    const { CLICKHOUSE_USER, CLICKHOUSE_PASSWORD } = readConfig(
      ["CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"],
      lookupIn({
        CLICKHOUSE_URL: "",
        CLICKHOUSE_USER: "",
        CLICKHOUSE_PASSWORD: "",
        TAPEHOUSE_HOME: home,
        ...env,
      }),
    );
    return [CLICKHOUSE_USER, CLICKHOUSE_PASSWORD];
  };
  try {
    assert.deepEqual(read({}), ["default", ""]);
    await announceAccess(home, { url: "http://127.0.0.1:8123", user: "me", password: "kept" });
    assert.deepEqual(read({}), ["me", "kept"]);
    assert.deepEqual(read({ CLICKHOUSE_URL: "http://localhost:8123" }), ["me", "kept"]);
    assert.deepEqual(read({ CLICKHOUSE_USER: "you" }), ["you", "kept"]);
    assert.deepEqual(read({ CLICKHOUSE_PASSWORD: "mine" }), ["default", "mine"]);
    for (
      const url of [
        "http://127.0.0.1:8124",
        "http://clickhouse:8123",
        "https://127.0.0.1:8123",
        "http://127.0.0.1.example.com:8123",
        "http://127.0.0.1:8123@example.com",
        "nonsense",
      ]
    ) assert.deepEqual(read({ CLICKHOUSE_URL: url }), ["default", ""], url);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("config: a broker is a name, an IPv4 or a bracketed IPv6 address with its port", () => {
  const good = ["kafka:9092", "10.0.0.1:9092", "[::1]:9092", "[2001:db8::7]:9093", "a.b-c.example:1"];
  const parsed = readConfig(["KAFKA_BROKERS"], lookup({ KAFKA_BROKERS: good.join(",") }));
  assert.deepEqual(parsed.KAFKA_BROKERS, good);
  for (
    const bad of ["::1:9092", "[::1]", "[::1:9092", "http://kafka:9092", "user@kafka:9092", "a b:1", "kafka:"]
  ) {
    assert.throws(() => readConfig(["KAFKA_BROKERS"], lookup({ KAFKA_BROKERS: bad })), ConfigError, bad);
  }
});

Deno.test("config: a wrong value that carries a login is told without it", () => {
  const cases: [Variable, string, string][] = [
    ["CLICKHOUSE_URL", "https://ann:s3cret@ch.example:8443", "CLICKHOUSE_URL=https://***@ch.example:8443: "],
    ["CLICKHOUSE_URL", "https://ann:s3c/s3cret@x@ch:1", "CLICKHOUSE_URL=https://***@ch:1: "],
    ["CLICKHOUSE_URL", "ann:s3cret@ch:8123", "CLICKHOUSE_URL=***@ch:8123: "],
    [
      "CLICKHOUSE_URL",
      "http://ch:8123/?user=ann&password=s3cret",
      "CLICKHOUSE_URL=http://ch:8123/?user=***&password=***: ",
    ],
    ["KAFKA_BROKERS", "one:9092,ann:s3cret@two:9092", "KAFKA_BROKERS=***@two:9092: "],
    ["COINBASE_WS_URL", "http://ann:s3cret@x", "COINBASE_WS_URL=http://***@x: "],
  ];
  for (const [name, value, expected] of cases) {
    assert.throws(() => readConfig([name], lookup({ [name]: value })), (error: Error) => {
      assert.ok(error.message.startsWith(expected), error.message);
      assert.doesNotMatch(error.message, /s3c|ann/);
      return true;
    });
  }
});

Deno.test("config: a password is never printed", () => {
  // Every password is accepted as it is, so no message can repeat one.
  for (const name of names.filter((name) => /PASSWORD|SECRET/.test(name))) {
    assert.equal(readConfig([name], lookup({ [name]: "  any\tthing'\" " }))[name], "  any\tthing'\" ");
  }
});

Deno.test("config: a .env that can't be read is as good as none, and says why", async () => {
  const config = new URL("./config.ts", import.meta.url).href;
  const project = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const source = `import { readConfig, whyDotEnvIsNotRead } from ${JSON.stringify(config)};
    console.log(readConfig(["KAFKA_GROUP"]).KAFKA_GROUP, whyDotEnvIsNotRead() ?? "");`;
  const folder = await Deno.makeTempDir();
  const cases: [string, (path: string) => Promise<void>, string[], RegExp][] = [
    ["read", (path) => Deno.writeTextFile(path, "KAFKA_GROUP=own"), [], /^own \n$/],
    ["none", () => Promise.resolve(), [], /^clickhouse \n$/],
    [
      "no permission",
      (path) => Deno.writeTextFile(path, "KAFKA_GROUP=own"),
      ["--deny-read=.env"],
      /^clickhouse no permission/,
    ],
    ["a folder", (path) => Deno.mkdir(path), [], /^clickhouse Is a directory/],
    ["a link to itself", (path) => Deno.symlink(".env", path), [], /^clickhouse .*symbolic links/],
  ];
  try {
    await Deno.writeTextFile(`${folder}/print.ts`, source);
    for (const [what, make, flags, expected] of cases) {
      const cwd = `${folder}/${what}`;
      await Deno.mkdir(cwd);
      await make(`${cwd}/.env`);
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-q",
          "--config",
          project,
          "--allow-env",
          "--allow-read",
          ...flags,
          `${folder}/print.ts`,
        ],
        cwd,
        // The tests' own process has every variable set to nothing, which wins over a .env.
        env: { HOME: Deno.env.get("HOME") ?? "", PATH: Deno.env.get("PATH") ?? "" },
        clearEnv: true,
      }).output();
      assert.match(new TextDecoder().decode(stdout), expected, what + new TextDecoder().decode(stderr));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
