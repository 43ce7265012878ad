/**
 * The library of example queries, sql/examples: reading them, and binding what a person gives for their parameters.
 * tasks/query.ts runs them.
 *
 * A file is one statement. Its comment begins with a sentence that says what it answers, then a line a parameter:
 *
 * ```sql
 * -- The largest trades by value.
 * -- param product String = BTC-USD  (which product)
 * -- param trade_id UInt64  (without a default it must be given)
 * ```
 *
 * @module
 */

import { distance } from "fastest-levenshtein";
import { ConfigError } from "../core/errors.ts";
import { projectFolder } from "../process/project.ts";
import { formatMicros, parseMicros } from "../core/time.ts";
import { quoteText } from "./quote.ts";

/** A parameter, as a query's header declares it. */
export interface Parameter {
  name: string;
  /** ClickHouse's, one of `types`. */
  type: string;
  /** Absent: it must be given. */
  default?: string;
  about: string;
}

/** A query of the library. */
export interface NamedQuery {
  /** That of the file, without `.sql`. */
  name: string;
  /** The sentence that says what it answers. */
  about: string;
  parameters: Parameter[];
  /** With `{name:Type}` where the server puts the parameters. */
  statement: string;
}

/** A moment that is only known when the data are asked. */
export interface Relative {
  /** `data`: just after the newest row of any message; `book`: the newest moment at which the product's book is known. */
  newest: "data" | "book";
  /** How many seconds before. */
  secondsBefore: number;
}

/** What is bound to a parameter; times are µs until they are sent. */
export type Value = string | string[] | { micros: number } | Relative;

interface Type {
  /** Follows "expected". */
  expected: string;
  read(text: string): Value | undefined;
}

const unitSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

const whole = (most: bigint): Type => ({
  expected: `a whole number from 0 to ${most}`,
  read: (text) => /^\d{1,20}$/.test(text) && BigInt(text) <= most ? text : undefined,
});

/** ClickHouse's types that a parameter may have. */
const types: Record<string, Type> = {
  "String": { expected: "a text", read: (text) => text },
  "Array(String)": {
    expected: "texts separated by commas",
    read(text) {
      const items = text.split(",").map((item) => item.trim());
      return items.every((item) => item !== "") ? items : undefined;
    },
  },
  "UInt32": whole(2n ** 32n - 1n),
  "UInt64": whole(2n ** 64n - 1n),
  "Enum8('buy' = 1, 'sell' = 2)": {
    expected: "buy or sell",
    read: (text) => text === "buy" || text === "sell" ? text : undefined,
  },
  "Decimal(38, 18)": {
    expected: "a decimal such as 0.25, at most 20 digits before the point and 18 after it",
    read: (text) => /^-?\d{1,20}(\.\d{1,18})?$/.test(text) ? text : undefined,
  },
  "DateTime64(6, 'UTC')": {
    expected: "a time in UTC such as 2026-07-07 or 2026-07-07T22:58:17.5Z, or newest, or newest - 24h",
    read: readTime,
  },
};

function readTime(text: string): Value | undefined {
  const relative = /^newest( book)?(?: ?- ?(\d{1,6})([smhd]))?$/.exec(text);
  if (relative) {
    const [, book, count = "0", unit = "s"] = relative;
    return {
      newest: book === undefined ? "data" : "book",
      secondsBefore: Number(count) * (unitSeconds[unit] ?? 0),
    };
  }
  const absolute = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,6})?)?)?Z?$/.exec(text);
  if (absolute === null) return undefined;
  const [, day = "", minute = "00:00", second = ":00"] = absolute;
  try {
    const micros = parseMicros(`${day}T${minute}${second}Z`);
    // Date.parse takes the 30th of February for the second of March.
    return formatMicros(micros).startsWith(`${day} ${minute}`) ? { micros } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Reads a file of the library.
 *
 * @throws {Error} naming the file and what is wrong with it
 */
export function parseQuery(name: string, text: string): NamedQuery {
  const wrong = (problem: string) => new Error(`sql/examples/${name}.sql: ${problem}`);
  const lines = text.split("\n");
  const end = lines.findIndex((line) => !line.startsWith("--"));
  const comment = lines.slice(0, end).map((line) => line.slice(2).trim());
  const first = comment.findIndex((line) => line.startsWith("param "));
  const about = comment.slice(0, first === -1 ? undefined : first).join(" ");
  if (about === "") throw wrong("expected a sentence that says what it answers");
  const statement = lines.slice(end).join("\n").trim().replace(/;$/, "");
  const parameters = comment.slice(first === -1 ? comment.length : first).map((line) => {
    const match = /^param (\w+) ([A-Z]\w*(?:\(.+?\))?)(?: = (.*?))? {2}\((.+)\)$/.exec(line);
    if (match === null) throw wrong(`expected "-- param name Type = default  (what)", found "-- ${line}"`);
    const [, parameter = "", type = "", fallback, what = ""] = match;
    const known = types[type];
    if (known === undefined) throw wrong(`type ${type}: expected ${Object.keys(types).join(", ")}`);
    if (fallback !== undefined && known.read(fallback) === undefined) {
      throw wrong(`default of ${parameter}: expected ${known.expected}, found ${fallback}`);
    }
    return {
      name: parameter,
      type,
      about: what,
      ...(fallback !== undefined && { default: fallback }),
    };
  });
  const declared = new Set(parameters.map((parameter) => `${parameter.name}:${parameter.type}`));
  const used = new Set([...statement.matchAll(/\{(\w+:[^}]+)\}/g)].map(([, place = ""]) => place));
  const [missing] = [...used].filter((place) => !declared.has(place));
  if (missing !== undefined) throw wrong(`{${missing}} isn't declared`);
  const [idle] = [...declared].filter((parameter) => !used.has(parameter));
  if (idle !== undefined) throw wrong(`${idle} is declared and not used`);
  return { name, about, parameters, statement };
}

/** Reads the library, ordered by name. */
export async function readQueries(
  folder: URL = projectFolder("sql/examples"),
): Promise<NamedQuery[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".sql")) names.push(name.slice(0, -".sql".length));
  }
  return await Promise.all(
    names.sort().map(async (name) =>
      parseQuery(name, await Deno.readTextFile(new URL(`${name}.sql`, folder)))
    ),
  );
}

/**
 * Finds a query.
 *
 * @throws {ConfigError} naming the nearest ones
 */
export function findQuery(queries: readonly NamedQuery[], name: string): NamedQuery {
  const found = queries.find((query) => query.name === name);
  if (found !== undefined) return found;
  const near = nearest(name, queries.map((query) => query.name)).join(", ");
  throw new ConfigError(`No query ${name}: did you mean ${near}? \`deno task query\` lists all.`);
}

/** The three names that are most like `name`: as a whole, or in one of their words. */
export function nearest(name: string, names: readonly string[]): string[] {
  const rank = (other: string) =>
    other.includes(name) ? 0 : Math.min(...[other, ...other.split("_")].map((word) => distance(name, word)));
  return names.map((other) => ({ other, far: rank(other) })).sort((left, right) => left.far - right.far)
    .slice(0, 3).map(({ other }) => other);
}

/**
 * What each parameter of a query is: given as `name=value`, or its default.
 *
 * @throws {ConfigError} for one that the query doesn't have, that is missing, or that isn't of its type
 */
export function bind(query: NamedQuery, given: readonly string[]): Record<string, Value> {
  const texts = new Map<string, string>();
  for (const pair of given) {
    const at = pair.indexOf("=");
    if (at < 1) throw new ConfigError(`--param ${pair}: expected name=value`);
    const name = pair.slice(0, at).trim();
    if (!query.parameters.some((parameter) => parameter.name === name)) {
      const all = query.parameters.map(describe).join("; ") || "none";
      throw new ConfigError(`--param ${pair}: ${query.name} has no parameter ${name}; it has: ${all}`);
    }
    texts.set(name, pair.slice(at + 1).trim());
  }
  return Object.fromEntries(query.parameters.map((parameter) => {
    const text = texts.get(parameter.name) ?? parameter.default;
    if (text === undefined) {
      throw new ConfigError(`${query.name} needs --param ${parameter.name}=…: ${describe(parameter)}`);
    }
    const value = types[parameter.type]?.read(text);
    if (value === undefined) {
      const expected = `expected ${types[parameter.type]?.expected}`;
      throw new ConfigError(`--param ${parameter.name}=${text}: ${expected}; it is ${describe(parameter)}`);
    }
    return [parameter.name, value];
  }));
}

/** `size Decimal(38, 18) = 10 (in the base currency)` */
function describe(parameter: Parameter): string {
  const fallback = parameter.default === undefined ? ", no default" : ` = ${parameter.default}`;
  return `${parameter.name} ${parameter.type}${fallback} (${parameter.about})`;
}

/**
 * The values as ClickHouse takes them.
 *
 * @param newest µs since the epoch, by what `Relative` names
 */
export function resolve(
  values: Record<string, Value>,
  newest: Record<Relative["newest"], number>,
): Record<string, string | string[]> {
  const micros = (value: { micros: number } | Relative) =>
    "micros" in value ? value.micros : newest[value.newest] - value.secondsBefore * 1e6;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      typeof value === "string" || Array.isArray(value) ? value : formatMicros(micros(value)),
    ]),
  );
}

/** A statement with its parameters, as clickhouse-client takes it. */
export function asScript(query: NamedQuery, values: Record<string, string | string[]>): string {
  const settings = Object.entries(values).map(([name, value]) => {
    const text = typeof value === "string" ? value : `[${value.map(quoteText).join(", ")}]`;
    return `SET param_${name} = ${quoteText(text)};\n`;
  });
  return `-- ${query.about}\n${settings.join("")}${query.statement};\n`;
}

/** One line a query. */
export function renderList(queries: readonly NamedQuery[]): string {
  const width = Math.max(...queries.map(({ name }) => name.length));
  return queries.map(({ name, about }) => `${name.padEnd(width)}  ${about}\n`).join("");
}
