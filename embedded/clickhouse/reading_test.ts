import assert from "node:assert/strict";
import { readStatement } from "./statement.ts";
import { assertReadOnly, assertReadOnlySetting } from "./reading.ts";

const refused = { name: "ClickHouseError", type: "READONLY", code: 164 };
const bytes = (text: string) => new TextEncoder().encode(text);
const judge = (text: string) => assertReadOnly(bytes(text), readStatement(bytes(text)).verb);

Deno.test("reading: a GET may select, show and describe", () => {
  for (
    const statement of [
      "SELECT * FROM candles_1m ORDER BY time DESC LIMIT 5 FORMAT PrettyCompact",
      "  /* why */ (SELECT 1)",
      "WITH x AS (SELECT 1) SELECT * FROM x",
      "FROM trades SELECT count()",
      "SHOW CREATE TABLE trades",
      "DESCRIBE TABLE trades",
      "SELECT `a b`, \"c\" FROM numbers(3) WHERE profile != 'files' AND refile = 1",
      "SELECT 'tab\\t' AS x",
      "SELECT {id:UInt64}",
    ]
  ) judge(statement);
});

Deno.test("reading: nothing else, however it is spelled", () => {
  for (
    const statement of [
      "INSERT INTO t SELECT 1",
      "KILL QUERY WHERE 1",
      "EXISTS TABLE default.`/etc/passwd`",
      "EXPLAIN SELECT 1",
      "SET max_threads = 1",
      "SYSTEM FLUSH LOGS",
      "",
      "SELECT file('/etc/passwd')",
      "SELECT arrayMap(file, ['/etc/passwd'])",
      "SELECT * APPLY file FROM (SELECT '/etc/passwd')",
      "SELECT TOP 1. file('/etc/passwd')",
      "SELECT \"file\"('/etc/passwd')",
      "SELECT `file`('/etc/passwd')",
      "SELECT “file”('/etc/passwd')",
      "SELECT `f\\x69le`('/etc/passwd')",
      'SELECT "fil\\e"(1)',
      "SELECT ‘f\\x69le’(1)",
      "SELECT /* ' */ file('/etc/passwd') /* ' */",
      "SELECT “'”, file('/etc/passwd'), “'”",
      "SELECT file\u00a0('/etc/passwd')",
      "SELECT arrayMap({f:Identifier}, ['/etc/passwd'])",
      "SELECT arrayMap({f:/**/identifier}, ['/etc/passwd'])",
      "SELECT * FROM eval('SELECT 1')",
      "SELECT aiGenerate('x', 'y')",
      "SELECT AIGENERATE('x', 'y')",
      "SELECT catboostEvaluate('/tmp/x', 1)",
      "SELECT 1 INTO\u00a0OUTFILE '/tmp/x'",
      "DESCRIBE TABLE url('http://127.0.0.1/')",
      "DESC(SELECT 1)",
    ]
  ) assert.throws(() => judge(statement), refused, statement);
});

Deno.test("reading: limits and the form of the answer may be set, files, addresses and rights not", () => {
  for (
    const name of [
      "max_threads",
      "max_execution_time",
      "max_result_rows",
      "max_rows_to_read",
      "result_overflow_mode",
      "extremes",
      "session_timezone",
      "output_format_json_quote_64bit_integers",
      "date_time_output_format",
    ]
  ) assertReadOnlySetting(name);
  for (
    const name of [
      "engine_file_truncate_on_insert",
      "format_schema",
      "format_template_row",
      "format_avro_schema_registry_url",
      "output_format_schema",
      "input_format_record_errors_file_path",
      "rename_files_after_processing",
      "allow_experimental_eval_table_function",
      "allow_introspection_functions",
      "allow_ddl",
      "readonly",
      "implicit_select",
      "url_base",
      "max_threads_",
    ]
  ) assert.throws(() => assertReadOnlySetting(name), refused, name);
});
