import assert from "node:assert/strict";
import { z } from "@hono/zod-openapi";
import { cursor, fill, format, from, limit, product, products, readQuery, threshold } from "./parameters.ts";
import { Problem } from "./problem.ts";

const schema = z.strictObject({
  product_id: product,
  from,
  limit: limit(100),
  format,
  fill,
  cursor,
  threshold,
});
const read = (query: string) => readQuery(schema, new URLSearchParams(query));

Deno.test("parameters: what is left out has its default", () => {
  assert.deepEqual(read("product_id=BTC-USD"), {
    product_id: "BTC-USD",
    limit: 100,
    format: "json",
    fill: "false",
  });
});

Deno.test("parameters: times are UTC to the microsecond, a day, or µs", () => {
  const time = (text: string) => read(`product_id=A&from=${text}`).from;
  assert.equal(time("2026-07-07T22:58:17.123456Z"), 1_783_465_097_123_456);
  assert.equal(time("2026-07-07T22:58:17Z"), 1_783_465_097_000_000);
  assert.equal(time("2026-07-07"), 1_783_382_400_000_000);
  assert.equal(time("1783465097123456"), 1_783_465_097_123_456);
});

Deno.test("parameters: what isn't allowed is named with what is", () => {
  const cases: [query: string, parameter: string][] = [
    ["", "product_id"],
    ["product_id=", "product_id"],
    ["product_id=A&product_id=B", "product_id"],
    ["product_id=A&y=1", "y"],
    ["product_id=A&__proto__=1", "__proto__"],
    ["product_id=A&from=1783465097", "from"],
    ["product_id=A&from=1783465097123", "from"],
    ["product_id=A&from=2026-13-01", "from"],
    ["product_id=A&from=2026-02-29", "from"],
    ["product_id=A&from=2000-12-31", "from"],
    ["product_id=A&from=2200-01-02", "from"],
    ["product_id=A&limit=", "limit"],
    ["product_id=A&limit=0", "limit"],
    ["product_id=A&limit=1.5", "limit"],
    ["product_id=A&limit=1000001", "limit"],
    ["product_id=A&format=JSON", "format"],
    ["product_id=A&cursor=a b", "cursor"],
    ["product_id=A&threshold=NaN", "threshold"],
    ["product_id=A&threshold=1e3", "threshold"],
  ];
  for (const [query, parameter] of cases) {
    assert.throws(
      () => read(query),
      (error) =>
        error instanceof Problem && error.details.parameter === parameter && Boolean(error.details.allowed),
      query,
    );
  }
});

Deno.test("parameters: a list of products loses its doubles and has no empty names", () => {
  const list = z.strictObject({ product_id: products });
  const names = (text: string) => readQuery(list, new URLSearchParams({ product_id: text })).product_id;
  assert.deepEqual(names("B,A,B"), ["B", "A"]);
  assert.throws(() => names("A,,B"), Problem);
  assert.throws(() => names(Array.from({ length: 101 }, (_, index) => `P${index}`).join(",")), Problem);
});
