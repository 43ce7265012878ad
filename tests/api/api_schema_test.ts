/**
 * Whatever the parameters say: hundreds of valid, boundary and hostile values for each operation of /openapi.json. Answers
 * are 200 as the document describes them, or a 4xx problem that names the parameter; never a 5xx, never a hang.
 *
 * @module
 */

import assert from "node:assert/strict";
import { start } from "../support/api_contents.ts";
import { openFixture, startFixtureServer } from "../support/api_fixture.ts";

interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  pattern?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  prefixItems?: Schema[];
  anyOf?: Schema[];
  example?: unknown;
  default?: unknown;
}

interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema: Schema;
}

interface Operation {
  parameters?: Parameter[];
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
}

interface Document {
  paths: Record<string, { get: Operation }>;
  components: { schemas: Record<string, Schema> };
}

/** Requests of each operation; of those whose queries take long, half as many. */
const roundsOf = (path: string) => ["/api/volatility", "/api/book"].includes(path) ? 100 : 200;
/** Only a hang takes longer. */
const boundMs = 120_000;

/** A small generator of numbers from 0 to 1, the same for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Wrong for every parameter. */
const hostile = [
  "\0",
  "a\0b",
  "' OR 1=1 --",
  "'; DROP TABLE trades; --",
  "{x:String}",
  "\\",
  "%",
  "NaN",
  "1e308",
  "-1",
  "-0",
  "Infinity",
  "null",
  "[1,2]",
  "\u{1F600}",
  "\u202E",
  "\uFEFF",
  "Ω".repeat(50),
  "9".repeat(400),
  "\r\nx: y",
  "../../etc/passwd",
  "0x10",
  " ",
];

/** Some are valid, some are on an edge. */
function values({ name, schema }: Parameter): string[] {
  if (schema.enum) return schema.enum.map(String);
  switch (name) {
    case "product_id":
      return ["BTC-USD", "ETH-USD"];
    case "from":
      return [
        "2026-07-07",
        "2026-07-07T10:00:00.000001Z",
        `${start}`,
        "1000000000000000",
        "2199-12-31T23:59:59.999999Z",
      ];
    case "to":
    case "at":
      return [
        "2026-07-07T10:00:00Z",
        "2026-07-07T12:00:00.5Z",
        `${start + 1}`,
        "2001-09-09T01:46:40Z",
        "7258118400000000",
      ];
    case "interval":
      return ["1s", "1m", "7m", "5m", "59s", "61m", "1h", "36h", "1d", "366d", "1w", "52w", "9999s"];
    case "limit":
      return ["1", "2", "1000", "10000"];
    case "depth":
      return ["1", "20", "1000"];
    case "threshold":
      return ["0", "0.000000001", "3.5", "1000000000"];
    default:
      return [];
  }
}

/** What an answer has against its schema; empty when it has nothing. */
function problemsOf(value: unknown, schema: Schema, document: Document, path = "$"): string[] {
  if (schema.$ref) {
    const target = document.components.schemas[schema.$ref.split("/").at(-1) ?? ""];
    return target
      ? problemsOf(value, target, document, path)
      : [`${path}: ${schema.$ref} isn't in the document`];
  }
  if (schema.anyOf) {
    const tries = schema.anyOf.map((one) => problemsOf(value, one, document, path));
    return tries.some((found) => found.length === 0) ? [] : tries.flat();
  }
  const types = schema.type === undefined ? [] : [schema.type].flat();
  const type = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  const fits = types.length === 0 || types.includes(type) ||
    (types.includes("integer") && Number.isSafeInteger(value));
  if (!fits) return [`${path}: ${JSON.stringify(value)} isn't ${types.join(" or ")}`];
  if (typeof value === "string" && schema.pattern && !new RegExp(schema.pattern).test(value)) {
    return [`${path}: ${value} doesn't match ${schema.pattern}`];
  }
  if (schema.enum && !schema.enum.includes(value)) return [`${path}: ${value} isn't one of ${schema.enum}`];
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      const of = schema.prefixItems?.[index] ?? schema.items;
      return of ? problemsOf(item, of, document, `${path}[${index}]`) : [];
    });
  }
  if (type !== "object") return [];
  const found = (schema.required ?? []).filter((name) => !Object.hasOwn(value as object, name))
    .map((name) => `${path}.${name} is missing`);
  for (const [name, part] of Object.entries(value as object)) {
    const of = schema.properties?.[name];
    if (of) found.push(...problemsOf(part, of, document, `${path}.${name}`));
    else if (schema.additionalProperties === false) found.push(`${path}.${name} isn't in the document`);
  }
  return found;
}

Deno.test("schema checker: it finds what is wrong", () => {
  const document: Document = { paths: {}, components: { schemas: {} } };
  const schema: Schema = {
    type: "object",
    properties: {
      a: { type: ["string", "null"], pattern: "^x" },
      b: { type: "array", items: { type: "integer" } },
    },
    required: ["a"],
    additionalProperties: false,
  };
  assert.deepEqual(problemsOf({ a: "xy", b: [1] }, schema, document), []);
  assert.deepEqual(problemsOf({ a: null }, schema, document), []);
  for (const wrong of [{}, { a: "y" }, { a: 1 }, { a: "x", b: [0.5] }, { a: "x", c: 1 }, []]) {
    assert(problemsOf(wrong, schema, document).length > 0, JSON.stringify(wrong));
  }
});

Deno.test("api: whatever the parameters say, the answer is as the document describes it or a problem that names them", async (t) => {
  const server = await startFixtureServer();
  const fixture = await openFixture(server);
  try {
    const ask = fixture.app();
    const document: Document = await (await ask("/openapi.json")).json();
    for (const [path, { get: operation }] of Object.entries(document.paths)) {
      const parameters = operation.parameters ?? [];
      const rounds = roundsOf(path);
      await t.step({
        name: `${path}: ${rounds} requests`,
        fn: async () => {
          const next = random(path.length * 7919 + 1);
          const pick = <T>(list: readonly T[]): T | undefined => list[Math.floor(next() * list.length)];
          const seen = new Map<number, number>();
          for (let round = 0; round < rounds; round++) {
            const query = new URLSearchParams();
            /** Must be refused, and one of these named. */
            const wrong = new Set<string>();
            const spoiled = round % 2 === 0 ? undefined : pick(parameters);
            for (const parameter of parameters) {
              const { name, required } = parameter;
              if (parameter === spoiled) {
                query.append(name, pick(hostile) ?? "");
                wrong.add(name);
                if (next() < 0.2) query.append(name, "BTC-USD");
              } else if (required || next() < 0.4) {
                const value = pick(values(parameter));
                if (value !== undefined) query.append(name, value);
              }
            }
            if (next() < 0.05) {
              query.append(pick(["produkt", "__proto__", "constructor", "a b", "\0"]) ?? "x", "1");
              wrong.add("");
            }
            const url = `${path}?${query}`;
            const begun = performance.now();
            const response = await ask(url);
            const body = new Uint8Array(await response.arrayBuffer());
            assert(performance.now() - begun < boundMs, `${url} hung`);
            seen.set(response.status, (seen.get(response.status) ?? 0) + 1);
            const type = (response.headers.get("content-type") ?? "").split(";")[0] ?? "";
            const described = operation.responses[response.status]?.content?.[type]?.schema;
            assert(
              described,
              `${url}: ${response.status} ${type} isn't in the document: ${new TextDecoder().decode(body)}`,
            );
            if (type.includes("json")) {
              const value = JSON.parse(new TextDecoder().decode(body));
              assert.deepEqual(problemsOf(value, described, document), [], url);
              if (response.status >= 400 && response.status !== 422) {
                assert(
                  query.has(value.parameter) || value.parameter.includes("\uFFFD"),
                  `${url}: names ${value.parameter}`,
                );
              }
            }
            if (wrong.size > 0) assert([400, 404].includes(response.status), `${url}: ${response.status}`);
            assert([200, 400, 404, 422].includes(response.status), `${url}: ${response.status}`);
          }
          // Both halves were tried.
          assert((seen.get(200) ?? 0) > 20, `only ${seen.get(200)} were valid`);
          if (parameters.length > 0) assert((seen.get(400) ?? 0) > 20, `only ${seen.get(400)} were refused`);
        },
      });
    }

    await t.step("every parameter that must be there is asked for", async () => {
      for (const [path, { get }] of Object.entries(document.paths)) {
        for (const { name, required } of get.parameters ?? []) {
          if (!required) continue;
          const response = await ask(path);
          assert.equal(response.status, 400, path);
          assert.equal((await response.json()).parameter, name);
        }
      }
    });
  } finally {
    await fixture.close();
    await server.stop();
  }
});
