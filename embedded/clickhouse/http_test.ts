import assert from "node:assert/strict";
import {
  decodeForm,
  handshakeAnswer,
  isFromProgram,
  isHandshake,
  quoteBytes,
  readOptions,
  readWork,
  setupStatements,
} from "./http.ts";
import { ClickHouseError, errorBody, errorStatus, readEngineError } from "./clickhouse_error.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined) => data && new TextDecoder().decode(data);
const none = new Headers();

Deno.test("http: parameters of an address are bytes, whatever they hold", () => {
  assert.deepEqual(decodeForm("a=1&b=%FF%00+x%2B&c&d=%zz=é"), [
    ["a", bytes("1")],
    ["b", new Uint8Array([0xff, 0, 0x20, 0x78, 0x2b])],
    ["c", bytes("")],
    ["d", bytes("%zz=é")],
  ]);
});

Deno.test("http: an address is sorted into query, database, parameters and settings", () => {
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
  assert.equal(options.clientRevision, 54460);
});

Deno.test("http: headers name database and format where the address doesn't", () => {
  const headers = new Headers({ "X-ClickHouse-Database": "h", "X-ClickHouse-Format": "CSV" });
  assert.equal(readOptions("POST", "", headers).database, "h");
  assert.equal(readOptions("POST", "", headers).defaultFormat, "CSV");
  assert.equal(readOptions("POST", "database=a&default_format=TSV", headers).database, "a");
});

Deno.test("http: an answer is compressed only for those who ask for it and understand it", () => {
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

Deno.test("http: names that could carry SQL and compression that isn't offered are refused", () => {
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

Deno.test("http: the engine is told database, settings and parameters as literals", () => {
  const setup = (method: string, search: string) => setupStatements(readOptions(method, search, none), false);
  assert.deepEqual(setup("POST", ""), ["SET implicit_select = 0"]);
  assert.deepEqual(setup("GET", "database=a%60%5Cb&param_x=it's%FF&readonly=1"), [
    "USE `a\\`\\\\b`",
    "SET implicit_select = 0, param_x = 'it\\x27s\\xff', readonly = '1', readonly = 1",
  ]);
});

Deno.test("http: a literal holds any bytes", () => {
  assert.equal(quoteBytes(new Uint8Array([0x61, 0x27, 0x5c, 0x0a, 0, 0xff])), "'a\\x27\\x5c\\x0a\\x00\\xff'");
});

Deno.test("http: rows are taken from the body as they are, wherever the statement stands", () => {
  const rows = new Uint8Array([10, 10, 0x3b, 0xff, 0]);
  const inAddress = readWork(bytes("INSERT INTO t FORMAT RowBinary"), rows);
  assert.deepEqual(inAddress, {
    text: bytes("INSERT INTO t "),
    verb: "INSERT",
    rows: { bytes: rows, format: "RowBinary" },
  });
  const head = bytes("INSERT INTO t FORMAT RowBinary\n");
  assert.deepEqual(readWork(new Uint8Array(), new Uint8Array([...head, ...rows])), inAddress);
});

Deno.test("http: a statement may start in the address and go on in the body", () => {
  const work = (query: string, body: string) => {
    const { text: statement, rows } = readWork(bytes(query), bytes(body));
    return [text(statement), rows?.format, text(rows?.bytes)];
  };
  assert.deepEqual(work("SELECT 1,", "2"), ["SELECT 1,\n2", undefined, undefined]);
  assert.deepEqual(work("INSERT INTO t VALUES", "(1), (2)"), ["INSERT INTO t ", "Values", "(1), (2)"]);
  assert.deepEqual(work("INSERT INTO t", "FORMAT CSV\n1"), ["INSERT INTO t\n", "CSV", "1"]);
  assert.deepEqual(work("INSERT INTO t FORMAT CSV\n1", "2"), ["INSERT INTO t ", "CSV", "1\n2"]);
  assert.deepEqual(work("INSERT INTO t FORMAT CSV\n", "2"), ["INSERT INTO t ", "CSV", "2"]);
});

Deno.test("http: no statement, two statements and statements about files are refused", () => {
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
});

Deno.test("http: clickhouse-go's first question is told from others", () => {
  assert.equal(isHandshake(bytes("SELECT displayName(), version(), revision(), timezone()")), true);
  assert.equal(
    isHandshake(bytes("SELECT displayName(), version(), revision(), timezone() FORMAT JSON")),
    false,
  );
  assert.equal(isHandshake(bytes("SELECT revision()")), false);
});

Deno.test("http: the answer to clickhouse-go's first question names revision 0 in the client's version of the Native format", () => {
  const server = { displayName: "d", version: "1.2", timezone: "UTC" };
  const column = (name: string, type: string, flag: string, value: string) =>
    `${String.fromCharCode(name.length)}${name}\x06${type}${flag}${value}`;
  const columns = (flag: string) =>
    "\x04\x01" + column("displayName()", "String", flag, "\x01d") +
    column("version()", "String", flag, "\x031.2") +
    column("revision()", "UInt32", flag, "\0\0\0\0") + column("timezone()", "String", flag, "\x03UTC");
  const latin1 = (data: Uint8Array) => String.fromCharCode(...data);
  assert.equal(latin1(handshakeAnswer(server, 0)), columns(""));
  assert.equal(latin1(handshakeAnswer(server, 54453)), "\x01\0\x02\xff\xff\xff\xff\0" + columns(""));
  assert.equal(latin1(handshakeAnswer(server, 54460)), "\x01\0\x02\xff\xff\xff\xff\0" + columns("\0"));
});

Deno.test("http: an engine's error is read into code, name and message", () => {
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
    ["out of luck", 1002, "UNKNOWN_EXCEPTION", "out of luck"],
  ];
  for (const [raw, code, type, message] of cases) {
    const error = readEngineError(raw);
    assert.deepEqual([error.code, error.type, error.message], [code, type, message]);
  }
});

Deno.test("http: an error goes out with ClickHouse's text and status", () => {
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

Deno.test("http: programs of this machine get in, pages of other sites don't", () => {
  const comes = (headers: Record<string, string>) => isFromProgram(new Headers(headers));
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
