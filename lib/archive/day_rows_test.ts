import assert from "node:assert/strict";
import { fileType } from "./day_rows.ts";

Deno.test("fileType(): enums and UUIDs are written as text, whatever their names hold", () => {
  const cases = [
    ["Enum8('buy' = 1, 'sell' = 2)", "String"],
    ["Nullable(Enum16('a\\'b)' = -1))", "Nullable(String)"],
    ["Nullable(UUID)", "Nullable(String)"],
    ["LowCardinality(String)", "LowCardinality(String)"],
    ["DateTime64(6, 'UTC')", "DateTime64(6, 'UTC')"],
  ] as const;
  for (const [type, wanted] of cases) assert.equal(fileType(type), wanted);
});
