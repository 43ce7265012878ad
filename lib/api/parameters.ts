/**
 * The parameters of the API: what each allows, as zod schemas that also write the OpenAPI document.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import { type Interval, parseInterval } from "../core/interval.ts";
import { formatMicros, parseMicros } from "../core/time.ts";
import { invalid, Problem } from "./problem.ts";

/** Times that the API takes: from 2001, so that a time in seconds or ms isn't taken for µs, up to 2200. */
const earliest = 1_000_000_000_000_000;
const latest = 7_258_118_400_000_000;

/** Rows of one JSON answer; the other formats are streamed and take more. */
export const maxJsonRows = 10_000;
/** Rows of one answer in another format. */
const maxRows = 1_000_000;

interface ParameterOptions<T> {
  /** In words, behind "expected". */
  allowed: string;
  /** Undefined when the text isn't allowed. */
  parse: (text: string) => T | undefined;
  description: string;
  /** JSON Schema of the text. */
  schema: Record<string, unknown>;
}

/** A parameter that must be there. */
function required<T>({ allowed, parse, description, schema }: ParameterOptions<T>) {
  return z.string({ error: allowed }).transform(checked(allowed, parse)).openapi({
    description,
    ...schema,
    param: { required: true },
  });
}

/** A parameter that may be left out. */
function optional<T>(options: ParameterOptions<T>): z.ZodType<T | undefined, string | undefined>;
function optional<T>(options: ParameterOptions<T>, otherwise: T): z.ZodType<T, string | undefined>;
function optional<T>({ allowed, parse, description, schema }: ParameterOptions<T>, otherwise?: T) {
  const check = checked(allowed, parse);
  return z.string({ error: allowed }).optional()
    .transform((text, context) => text === undefined ? otherwise : check(text, context))
    .openapi({
      description,
      ...schema,
      ...(otherwise === undefined ? {} : { default: otherwise }),
      param: { required: false },
    });
}

function checked<T>(allowed: string, parse: (text: string) => T | undefined) {
  return (text: string, context: z.RefinementCtx): T => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message: allowed });
    return z.NEVER;
  };
}

function oneOf<const V extends readonly string[]>(
  values: V,
  description: string,
): ParameterOptions<V[number]> {
  return {
    allowed: `one of ${values.join(", ")}`,
    parse: (text) => values.find((value) => value === text),
    description,
    schema: { type: "string", enum: [...values] },
  };
}

function whole(least: number, most: number, description: string): ParameterOptions<number> {
  return {
    allowed: `a whole number from ${least} to ${most}`,
    parse: (text) =>
      /^\d{1,15}$/.test(text) && Number(text) >= least && Number(text) <= most ? Number(text) : undefined,
    description,
    schema: { type: "integer", minimum: least, maximum: most },
  };
}

const time = (description: string): ParameterOptions<number> => ({
  allowed:
    "a UTC time such as 2026-07-07T22:58:30.123456Z or 2026-07-07, or µs since 1970 (16 digits), from 2001 to 2200",
  parse(text) {
    const micros = /^\d{16}$/.test(text)
      ? Number(text)
      : parsedMicros(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
    return micros !== undefined && micros >= earliest && micros <= latest ? micros : undefined;
  },
  description,
  schema: {
    type: "string",
    pattern: "^(\\d{16}|\\d{4}-\\d\\d-\\d\\d(T\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,9})?Z)?)$",
    example: "2026-07-07T22:58:30.123456Z",
  },
});

function parsedMicros(iso: string): number | undefined {
  try {
    const micros = parseMicros(iso);
    // The parser takes February 30th for March 2nd.
    return formatMicros(micros).slice(0, 19) === iso.slice(0, 19).replace("T", " ") ? micros : undefined;
  } catch {
    return undefined;
  }
}

const productText: ParameterOptions<string> = {
  allowed: "a product id such as BTC-USD",
  parse: (text) => text.length > 0 && text.length <= 100 ? text : undefined,
  description: "The product, as the exchange calls it.",
  schema: { type: "string", minLength: 1, maxLength: 100, example: "BTC-USD" },
};

/** `BTC-USD` */
export const product = required(productText);
/** `BTC-USD`, or all products. */
export const anyProduct = optional({ ...productText, description: "The product; all when absent." });
/** `BTC-USD,ETH-USD`, or all products. */
export const products = optional({
  allowed: "product ids separated by commas, such as BTC-USD,ETH-USD, at most 100",
  parse(text) {
    const names = [...new Set(text.split(","))];
    return names.length <= 100 && names.every((name) => productText.parse(name) !== undefined)
      ? names
      : undefined;
  },
  description: "Products separated by commas; all when absent.",
  schema: { type: "string", minLength: 1, example: "BTC-USD,ETH-USD" },
});
/** µs, included. */
export const from = optional(time("Start of the range, included."));
/** µs, not included. */
export const to = optional(time("End of the range, not included; now when absent."));
/** µs. */
export const at = optional(time("The moment by the exchange's clock; the newest known book when absent."));
/** Rows of a page. */
export const limit = (otherwise: number) =>
  optional(
    whole(1, maxRows, `Rows of a page; at most ${maxJsonRows} with format=json.`),
    otherwise,
  );
/** Levels a side. */
export const depth = optional(whole(1, 1000, "Levels a side."), 20);
/** Opaque. */
export const cursor = optional<string>({
  allowed: "what `next` of the page before described, with the same other parameters",
  parse: (text) => /^[\w-]{8,400}$/.test(text) ? text : undefined,
  description: "Where the page begins: `next` of the page before. The other parameters stay as they were.",
  schema: { type: "string", pattern: "^[A-Za-z0-9_-]{8,400}$" },
});
/** How rows are written. */
export const format = optional(
  oneOf(["json", "csv", "arrow", "parquet"], "json pages by `next`; the others are streamed, in one answer."),
  "json",
);
/** How times are written. */
export const timeFormat = optional(
  oneOf(["iso", "unix_us"], "Times as ISO 8601 with microseconds, or as µs since 1970."),
  "iso",
);
/** `false` or `true`. */
export const fill = optional(
  oneOf(["false", "true"], "Repeat the close in intervals without trades (is_filled)."),
  "false",
);
/** Least score to list. */
export const threshold = optional<number>({
  allowed: "a number from 0 to 1000000000, such as 4.5",
  parse: (text) => /^\d{1,9}(\.\d{1,9})?$/.test(text) && Number(text) <= 1e9 ? Number(text) : undefined,
  description: "The least score to list.",
  schema: { type: "number", minimum: 0, maximum: 1e9 },
});
/** The kinds of anomalies of sql/views/anomalies_live.sql. */
export const anomalyKinds = [
  "price_jump",
  "return_outlier",
  "volume_outlier",
  "volume_spike",
  "spread_blowout",
  "crossed_market",
  "silence",
  "stale_price",
  "tape_gap",
] as const;
/** How grave an anomaly is. */
export const severities = ["info", "warning", "critical"] as const;
/** One kind of anomaly. */
export const kind = optional(oneOf(anomalyKinds, "Only this kind; docs/anomalies.md has the rules."));
/** One severity. */
export const severity = optional(
  oneOf(severities, "Only this severity: a score below 2 is info, below 5 warning, else critical."),
);

/** Length of a candle. */
export const interval = z.string({ error: "an interval" }).optional().transform((text, context): Interval => {
  const parsed = parseInterval(text ?? "1m");
  if (parsed !== undefined) return parsed;
  context.addIssue({
    code: "custom",
    message: "a whole number and s, m, h, d or w, such as 1s, 5m, 4h or 1w; at most 366d",
  });
  return z.NEVER;
}).openapi({
  description: "Length of a candle: a whole number and s, m, h, d or w. Weeks start on Monday.",
  type: "string",
  pattern: "^[1-9][0-9]{0,6}[smhdw]$",
  default: "1m",
  param: { required: false },
});

/**
 * Reads and checks the parameters of a request.
 *
 * @throws {Problem} naming the first parameter that is unknown, repeated or wrong, and what is allowed
 */
export function readQuery<S extends z.ZodRawShape>(
  schema: z.ZodObject<S>,
  given: URLSearchParams,
): z.output<z.ZodObject<S>> {
  const known = Object.keys(schema.shape);
  for (const name of new Set(given.keys())) {
    if (!known.includes(name)) {
      throw new Problem("invalid-parameter", {
        detail: `${shownName(name)}: no such parameter`,
        parameter: shownName(name),
        allowed: known.length > 0 ? `the parameters ${known.join(", ")}` : "no parameters",
      });
    }
    if (given.getAll(name).length > 1) throw invalid(name, given.getAll(name).join(" and "), "one value");
  }
  const result = schema.safeParse(Object.fromEntries(given));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const name = String(issue?.path[0] ?? "");
  throw invalid(name, given.get(name) ?? undefined, issue?.message ?? "another value");
}

function shownName(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, "\uFFFD").slice(0, 80);
}
