import assert from "node:assert/strict";
import { authenticate, readCredentials } from "./authentication.ts";

const basic = (text: string) => `Basic ${new TextEncoder().encode(text).toBase64()}`;

Deno.test("authentication: each of ClickHouse's ways names the same user and password", () => {
  const cases: [string, Record<string, string>, [string, string]][] = [
    ["", { authorization: basic("me:se:cret") }, ["me", "se:cret"]],
    ["", { authorization: basic(":ü") }, ["default", "ü"]],
    ["", { authorization: basic("me") }, ["me", ""]],
    ["", { "x-clickhouse-user": "me", "x-clickhouse-key": "secret" }, ["me", "secret"]],
    ["", { "x-clickhouse-key": "secret" }, ["default", "secret"]],
    ["user=me&password=a%2Bb+c", {}, ["me", "a+b c"]],
    ["password=x", {}, ["default", "x"]],
    ["query=SELECT+1", {}, ["default", ""]],
  ];
  for (const [search, headers, [user, password]] of cases) {
    assert.deepEqual(readCredentials(search, new Headers(headers)), { user, password });
  }
});

Deno.test("authentication: two ways at once, and what can't be read, are refused", () => {
  const failed = { name: "ClickHouseError", code: 516, type: "AUTHENTICATION_FAILED" };
  const cases: [string, Record<string, string>, RegExp][] = [
    ["user=a", { authorization: basic("a:b") }, /simultaneously/],
    ["password=a", { "x-clickhouse-key": "a" }, /simultaneously/],
    ["", { authorization: basic("a:b"), "x-clickhouse-user": "a" }, /simultaneously/],
    ["", { authorization: "Bearer abc" }, /'Bearer' HTTP Authorization scheme is not supported/],
    ["", { authorization: "Basic ~~" }, /isn't base64/],
    ["", { authorization: "Basic /w==" }, /isn't base64/],
  ];
  for (const [search, headers, message] of cases) {
    assert.throws(() => readCredentials(search, new Headers(headers)), { ...failed, message });
  }
});

Deno.test("authentication: only the right user with the right password gets in", () => {
  const owner = { user: "default", password: "right" };
  authenticate({ user: "default", password: "right" }, owner);
  for (
    const [user, password, code] of [
      ["default", "", 194],
      ["somebody", "", 194],
      ["default", "wrong", 516],
      ["default", "right ", 516],
      ["default", "righ", 516],
      ["Default", "right", 516],
    ] as const
  ) assert.throws(() => authenticate({ user, password }, owner), { code }, `${user}:${password}`);
});
