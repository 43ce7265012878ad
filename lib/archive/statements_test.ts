import assert from "node:assert/strict";
import { s3Variables } from "./s3.ts";
import { clickhouseFailure } from "./statements.ts";
import { clickhouseVariables } from "../clickhouse/client.ts";
import { FatalError } from "../core/errors.ts";
import { readConfig } from "../process/config.ts";

Deno.test("clickhouseFailure(): what ClickHouse says becomes one line without the keys", () => {
  const env: Record<string, string> = {
    S3_SECRET_KEY: "s3cr3t",
    S3_ACCESS_KEY: "acc3ss",
    CLICKHOUSE_PASSWORD: "pa55",
  };
  const config = readConfig([...clickhouseVariables, ...s3Variables], (name) => env[name]);
  const refused = Object.assign(new Error("connect\n  refused acc3ss s3cr3t pa55"), { code: "ECONNREFUSED" });
  const failure = clickhouseFailure(refused, config);
  assert.ok(failure instanceof FatalError);
  assert.equal(
    failure.message,
    "ClickHouse at http://127.0.0.1:8123 (CLICKHOUSE_URL) doesn't answer: connect refused *** *** ***",
  );
  // A mistake of our own keeps its stack trace.
  const mistake = new TypeError("x is undefined");
  assert.equal(clickhouseFailure(mistake, config), mistake);
});
