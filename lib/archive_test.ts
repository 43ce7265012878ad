import assert from "node:assert/strict";
import {
  type Action,
  clickhouseFailure,
  dayFolder,
  daysBetween,
  decide,
  fileType,
  lastDroppable,
  manifestKey,
  partKey,
} from "./archive.ts";
import { chooseDays, chooseTables } from "./archive_choice.ts";
import { nameOf, newestFull } from "./backup.ts";
import { readConfig } from "./config.ts";
import { s3Variables } from "./s3.ts";
import { FatalError } from "./service.ts";
import { warehouseVariables } from "./warehouse.ts";

Deno.test("files lie where readers of Hive's layout look for them", () => {
  const folder = dayFolder("a/b", "market", "trades", "2026-07-07");
  assert.equal(manifestKey(folder), "a/b/market/trades/date=2026-07-07/_manifest.json");
  for (
    const [product, name] of [
      ["BTC-USD", "BTC-USD"],
      ["", "__HIVE_DEFAULT_PARTITION__"],
      ["A/B *", "A%2FB%20%2A"],
      ["ä=1", "%C3%A4%3D1"],
    ] as const
  ) {
    assert.equal(partKey(folder, product), `${folder}/product_id=${name}/part.parquet`);
  }
});

Deno.test("a table never takes rows from the archive that it has lost", () => {
  const ten = { rows: 10, digest: "a" };
  const other = { rows: 10, digest: "b" };
  const more = { rows: 11, digest: "c" };
  const less = { rows: 9, digest: "d" };
  type Row = typeof ten | undefined;
  const cases: [string, Row, Row, Action, Action, Action][] = [
    // what, archived, stored → as it is, with --rewrite, after a drop
    ["neither", undefined, undefined, "keep", "keep", "keep"],
    ["new", undefined, ten, "write", "write", "refuse"],
    ["gone", ten, undefined, "keep", "keep", "keep"],
    ["equal", ten, ten, "keep", "write", "keep"],
    ["changed", ten, other, "write", "write", "refuse"],
    ["a hole was filled", ten, more, "write", "write", "refuse"],
    ["rows were lost", ten, less, "refuse", "write", "refuse"],
  ];
  for (const [what, archived, stored, plain, rewritten, dropped] of cases) {
    const decision = (options: { dropped?: boolean; rewrite?: boolean }) =>
      decide(archived, stored, { dropped: false, rewrite: false, sameColumns: true, ...options });
    assert.equal(decision({}), plain, what);
    assert.equal(decision({ rewrite: true }), rewritten, `${what}, --rewrite`);
    assert.equal(decision({ dropped: true }), dropped, `${what}, dropped`);
  }
  // Digests of other columns say nothing.
  assert.equal(decide(ten, ten, { dropped: false, rewrite: false, sameColumns: false }), "write");
});

Deno.test("--keep-days counts whole days before today", () => {
  assert.equal(lastDroppable(7, new Date("2026-07-15T23:59:59Z")), "2026-07-07");
  assert.equal(lastDroppable(0, new Date("2026-07-15T00:00:00Z")), "2026-07-14");
});

Deno.test("days are chosen one, several, or yesterday, and must be over", () => {
  const now = new Date("2026-03-02T00:00:01Z");
  assert.deepEqual(chooseDays({}, now), ["2026-03-01"]);
  assert.deepEqual(chooseDays({ date: "2026-02-28" }, now), ["2026-02-28"]);
  assert.deepEqual(chooseDays({ from: "2026-02-27" }, now), ["2026-02-27", "2026-02-28", "2026-03-01"]);
  assert.deepEqual(daysBetween("2024-02-28", "2024-03-01"), ["2024-02-28", "2024-02-29", "2024-03-01"]);
  const cases: [Parameters<typeof chooseDays>[0], RegExp][] = [
    [{ date: "2026-03-02" }, /^--date 2026-03-02: expected a day that is over \(UTC\)$/],
    [{ date: "2026-02-30" }, /^--date 2026-02-30: expected a day such as/],
    [{ date: "yesterday" }, /^--date yesterday: expected a day such as/],
    [{ date: "2026-02-28", to: "2026-02-28" }, /^--date is one day/],
    [{ to: "2026-02-28" }, /^--to needs --from$/],
    [{ from: "2026-02-28", to: "2026-02-27" }, /^--from 2026-02-28 is after --to 2026-02-27$/],
  ];
  for (const [options, message] of cases) {
    assert.throws(() => chooseDays(options, now), { name: "ConfigError", message });
  }
});

Deno.test("tables are chosen by name, and others are named", () => {
  assert.deepEqual(chooseTables("tickers, trades"), ["tickers", "trades"]);
  assert.equal(chooseTables(undefined).length, 5);
  assert.throws(() => chooseTables("candles_1m"), {
    message: /^--table candles_1m: expected trades, tickers, /,
  });
});

Deno.test("enums are written as text, whatever their names hold", () => {
  const cases = [
    ["Enum8('buy' = 1, 'sell' = 2)", "String"],
    ["Nullable(Enum16('a\\'b)' = -1))", "Nullable(String)"],
    ["LowCardinality(String)", "LowCardinality(String)"],
    ["DateTime64(6, 'UTC')", "DateTime64(6, 'UTC')"],
  ] as const;
  for (const [type, wanted] of cases) assert.equal(fileType(type), wanted);
});

Deno.test("an increment builds on the newest full backup", () => {
  const backup = (name: string, created_at: string, base?: string) => ({
    version: 1 as const,
    name,
    database: "market",
    tables: [],
    created_at,
    bytes: 1,
    objects: 1,
    ...(base !== undefined && { base }),
  });
  assert.equal(newestFull([]), undefined);
  const all = [backup("b", "2026-07-08"), backup("a", "2026-07-07"), backup("c", "2026-07-09", "b")];
  assert.equal(newestFull(all)?.name, "b");
  assert.equal(nameOf(new Date("2026-07-07T22:58:17.123Z")), "20260707T225817Z");
});

Deno.test("what ClickHouse says becomes one line without the keys", () => {
  const env: Record<string, string> = {
    S3_SECRET_KEY: "s3cr3t",
    S3_ACCESS_KEY: "acc3ss",
    CLICKHOUSE_PASSWORD: "pa55",
  };
  const config = readConfig([...warehouseVariables, ...s3Variables], (name) => env[name]);
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
