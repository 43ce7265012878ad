import assert from "node:assert/strict";
import {
  ClickHouseError,
  decodeForm,
  errorBody,
  errorStatus,
  insertFromFile,
  isFromThisMachine,
  quoteBytes,
  quoteName,
  readEngineError,
  readOptions,
  readWork,
  setupStatements,
  withRevisionZero,
} from "./http.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined) => data && new TextDecoder().decode(data);
const none = new Headers();

Deno.test("parameters of an address are bytes, whatever they hold", () => {
  assert.deepEqual(decodeForm("a=1&b=%FF%00+x%2B&c&d=%zz=é"), [
    ["a", bytes("1")],
    ["b", new Uint8Array([0xff, 0, 0x20, 0x78, 0x2b])],
    ["c", bytes("")],
    ["d", bytes("%zz=é")],
  ]);
});

Deno.test("an address is sorted into query, database, parameters and settings", () => {
  const options = readOptions(
    "POST",
    "query=SELECT+1&database=x&param_p=v&max_threads=2&query_id=q&user=u&password=p&session_id=s&buffer_size=1" +
      "&wait_end_of_query=1&client_protocol_version=54460&default_format=JSON&compress=0&send_progress_in_http_headers=1",
    none,
  );
  assert.equal(text(options.query), "SELECT 1");
  assert.equal(options.database, "x");
  assert.equal(options.queryId, "q");
  assert.equal(options.defaultFormat, "JSON");
  assert.deepEqual(options.parameters, [["p", bytes("v")]]);
  assert.deepEqual(options.settings, [["max_threads", bytes("2")], [
    "send_progress_in_http_headers",
    bytes("1"),
  ]]);
  assert.equal(options.readOnly, false);
});

Deno.test("headers name database and format where the address doesn't", () => {
  const headers = new Headers({ "X-ClickHouse-Database": "h", "X-ClickHouse-Format": "CSV" });
  assert.equal(readOptions("POST", "", headers).database, "h");
  assert.equal(readOptions("POST", "", headers).defaultFormat, "CSV");
  assert.equal(readOptions("POST", "database=a&default_format=TSV", headers).database, "a");
});

Deno.test("an answer is compressed only for those who ask for it and understand it", () => {
  const gzip = (search: string, accepted?: string) =>
    readOptions("POST", search, new Headers(accepted === undefined ? {} : { "accept-encoding": accepted }))
      .gzipAnswer;
  assert.equal(gzip("enable_http_compression=1", "gzip"), true);
  assert.equal(gzip("enable_http_compression=1", "br, gzip;q=0.5"), true);
  assert.equal(gzip("enable_http_compression=1", "gzip;q=0"), false);
  assert.equal(gzip("enable_http_compression=1", "br"), false);
  assert.equal(gzip("enable_http_compression=1"), false);
  assert.equal(gzip("enable_http_compression=0", "gzip"), false);
  assert.equal(gzip("", "gzip"), false);
});

Deno.test("names that could carry SQL and compression that isn't offered are refused", () => {
  const refused = (search: string, type: string) =>
    assert.throws(
      () => readOptions("POST", search, none),
      (error: ClickHouseError) => error.type === type,
      search,
    );
  refused("max_threads%20=1", "UNKNOWN_SETTING");
  refused("a,b=1", "UNKNOWN_SETTING");
  refused("param_a%3D1,b=1", "BAD_ARGUMENTS");
  refused("compress=1", "NOT_IMPLEMENTED");
  refused("decompress=1", "NOT_IMPLEMENTED");
});

Deno.test("the engine is told database, settings and parameters as literals", () => {
  const setup = (method: string, search: string) => setupStatements(readOptions(method, search, none), false);
  assert.deepEqual(setup("POST", ""), ["SET implicit_select = 0"]);
  assert.deepEqual(setup("GET", "database=a%60b&param_x=it's%FF&readonly=1"), [
    "USE `a\\`b`",
    "SET implicit_select = 0,readonly = 2",
    "SET param_x = 'it\\x27s\\xff', readonly = '1'",
  ]);
});

Deno.test("a literal holds any bytes and a quoted name any character", () => {
  assert.equal(quoteBytes(new Uint8Array([0x61, 0x27, 0x5c, 0x0a, 0, 0xff])), "'a\\x27\\x5c\\x0a\\x00\\xff'");
  assert.equal(quoteName("a`\\b"), "`a\\`\\\\b`");
});

Deno.test("rows are taken from the body as they are, wherever the statement stands", () => {
  const rows = new Uint8Array([10, 10, 0x3b, 0xff, 0]);
  const inAddress = readWork(bytes("INSERT INTO t FORMAT RowBinary"), rows);
  assert.equal(inAddress.text, "INSERT INTO t FORMAT RowBinary");
  assert.deepEqual(inAddress.data?.rows, rows);
  const head = bytes("INSERT INTO t FORMAT RowBinary\n");
  const inBody = readWork(new Uint8Array(), new Uint8Array([...head, ...rows]));
  assert.equal(inBody.text, "INSERT INTO t FORMAT RowBinary\n");
  assert.deepEqual(inBody.data?.rows, rows);
});

Deno.test("a statement may start in the address and go on in the body", () => {
  assert.equal(readWork(bytes("SELECT 1,"), bytes("2")).text, "SELECT 1,\n2");
  const values = readWork(bytes("INSERT INTO t VALUES"), bytes("(1), (2)"));
  assert.deepEqual([values.data?.place.format, text(values.data?.rows)], ["Values", "(1), (2)"]);
  const split = readWork(bytes("INSERT INTO t"), bytes("FORMAT CSV\n1"));
  assert.deepEqual([split.data?.place.format, text(split.data?.rows)], ["CSV", "1"]);
  const more = readWork(bytes("INSERT INTO t FORMAT CSV\n1"), bytes("2"));
  assert.equal(text(more.data?.rows), "1\n2");
});

Deno.test("no statement, two statements and statements about files are refused", () => {
  const refused = (statement: string, code: number, reason: RegExp) =>
    assert.throws(() => readWork(bytes(statement), new Uint8Array()), (error: ClickHouseError) => {
      assert.equal(error.code, code, statement);
      assert.match(error.message, reason);
      return true;
    });
  refused(" ", 62, /the query is empty/);
  refused("SELECT 1; SELECT 2", 62, /Multi-statements are not allowed.* position 11/);
  refused("INSERT INTO t VALUES (1); SELECT 2", 62, /Multi-statements are not allowed.* position 27/);
  refused("SELECT 1 INTO OUTFILE 'x'", 358, /OUTFILE is not allowed/);
  refused("INSERT INTO t FROM INFILE 'x' FORMAT CSV", 78, /INFILE is not allowed/);
  refused("INSERT INTO t SELECT * FROM input('a Int8') FORMAT CSV\n1", 48, /input\(\) isn't offered/);
  assert.throws(() => readWork(new Uint8Array([0x53, 0xff]), new Uint8Array()), /isn't UTF-8/);
});

Deno.test("an insert is pointed to the file that holds its rows, before its other clauses", () => {
  const point = (statement: string) => {
    const work = readWork(bytes(statement), new Uint8Array());
    assert.ok(work.data);
    return insertFromFile(work.text, work.data.place, "/a'b");
  };
  assert.equal(
    point("INSERT INTO t (é) SETTINGS a = 1 FORMAT CSV\n1"),
    "INSERT INTO t (é)  FROM INFILE '/a\\x27b' COMPRESSION 'none' SETTINGS a = 1  FORMAT CSV",
  );
  assert.equal(
    point("INSERT INTO t VALUES (1)"),
    "INSERT INTO t  FROM INFILE '/a\\x27b' COMPRESSION 'none'  FORMAT Values",
  );
});

Deno.test("clickhouse-go's first question is answered with revision 0, others aren't touched", () => {
  assert.equal(
    withRevisionZero("SELECT displayName(), version(), revision(), timezone()"),
    "SELECT displayName(), version(), CAST(0 AS UInt32) AS `revision()`, timezone()",
  );
  assert.equal(withRevisionZero("SELECT revision()"), "SELECT revision()");
});

Deno.test("an engine's error is read into code, name and message", () => {
  const cases: [string, number, string, string][] = [
    [
      "Code: 60. DB::Exception: Table a.b does not exist. (UNKNOWN_TABLE)",
      60,
      "UNKNOWN_TABLE",
      "Table a.b does not exist",
    ],
    [
      "Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format X. (UNKNOWN_FORMAT) (version 26.7.2.1). (UNKNOWN_FORMAT)",
      73,
      "UNKNOWN_FORMAT",
      "Unknown format X",
    ],
    [
      "Query failed: Code: 117. DB::Exception: Expected end of line: (at row 2): (in file/uri /x/y): While executing File: data for INSERT was parsed from file. (INCORRECT_DATA)",
      117,
      "INCORRECT_DATA",
      "Expected end of line: (at row 2)",
    ],
    ["out of luck", 1002, "UNKNOWN_EXCEPTION", "out of luck"],
  ];
  for (const [raw, code, type, message] of cases) {
    const error = readEngineError(raw);
    assert.deepEqual([error.code, error.type, error.message], [code, type, message]);
  }
});

Deno.test("an error goes out with ClickHouse's text and status", () => {
  const error = new ClickHouseError(60, "UNKNOWN_TABLE", "Table a.b does not exist");
  assert.equal(
    errorBody(error, "1.2"),
    "Code: 60. DB::Exception: Table a.b does not exist. (UNKNOWN_TABLE) (version 1.2)\n",
  );
  const cases: [string, number][] = [
    ["SYNTAX_ERROR", 400],
    ["CANNOT_PARSE_TEXT", 400],
    ["ACCESS_DENIED", 403],
    ["UNKNOWN_TABLE", 404],
    ["UNKNOWN_DATABASE", 404],
    ["UNKNOWN_SETTING", 404],
    ["TIMEOUT_EXCEEDED", 408],
    ["READONLY", 500],
    ["MEMORY_LIMIT_EXCEEDED", 500],
    ["NOT_IMPLEMENTED", 501],
  ];
  for (const [type, status] of cases) assert.equal(errorStatus(type), status, type);
});

Deno.test("programs of this machine get in, pages of other sites don't", () => {
  const comes = (headers: Record<string, string>) => isFromThisMachine(new Headers(headers));
  assert.equal(comes({ host: "127.0.0.1:8123" }), true);
  assert.equal(comes({ host: "localhost" }), true);
  assert.equal(comes({ host: "[::1]:8123" }), true);
  assert.equal(comes({ host: "host.docker.internal:8123" }), true);
  assert.equal(comes({ host: "localhost:8123", origin: "http://localhost:3000" }), true);
  assert.equal(comes({ host: "127.0.0.1:8123", origin: "https://example.com" }), false);
  assert.equal(comes({ host: "127.0.0.1:8123", origin: "https://1.2.3.4" }), false);
  assert.equal(comes({ host: "127.0.0.1:8123", origin: "null" }), false);
  assert.equal(comes({ host: "example.com:8123" }), false);
  assert.equal(comes({ host: "127.0.0.1.example.com" }), false);
  assert.equal(comes({}), false);
});
