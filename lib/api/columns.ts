/**
 * Columns of the lists: one description gives the SELECT, the rows' JSON schema and their documentation.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";

/** What a column holds. */
export interface Column {
  kind: "text" | "decimal" | "time" | "integer" | "number" | "boolean";
  nullable?: true;
  /** All that a text can be. */
  values?: readonly string[];
  description?: string;
  /** In SQL; the view's column of the same name when absent. The view is called `v`. */
  sql?: string;
}

/** Name → column, in the order of the answer. */
export type Columns = Record<string, Column>;

/** Shorthands. */
export const text: Column = { kind: "text" };
export const decimal: Column = { kind: "decimal" };
export const time: Column = { kind: "time" };
export const integer: Column = { kind: "integer" };
export const number: Column = { kind: "number" };
/** The same, and null where there is none. */
export const nullable = (column: Column): Column => ({ ...column, nullable: true });
/** The same, with a word of explanation. */
export const described = (column: Column, description: string): Column => ({ ...column, description });

/** How times are written. */
export type TimeFormat = "iso" | "unix_us";

/**
 * The list behind SELECT. Columns are named with the view's alias: a bare name would mean the converted time in WHERE too.
 */
export function selectList(columns: Columns, timeFormat: TimeFormat): string {
  return Object.entries(columns).map(([name, { kind, sql = `v.${name}` }]) =>
    `${kind === "time" && timeFormat === "unix_us" ? `toUnixTimestamp64Micro(${sql})` : sql} AS ${name}`
  ).join(", ");
}

/** A decimal without trailing zeros. */
export const decimalText = z.string().regex(/^-?\d+(\.\d*[1-9])?$/).openapi({ example: "64000.12" });

/** A time in either format. */
export const timeText = z.union([
  z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
  z.int(),
]).openapi({ example: "2026-07-07T22:58:30.123456Z" });

const schemas = {
  text: z.string(),
  decimal: decimalText,
  time: timeText,
  integer: z.int(),
  number: z.number(),
  boolean: z.boolean(),
};

/** The schema of a row. */
export function rowSchema(columns: Columns): z.ZodObject {
  return z.strictObject(Object.fromEntries(
    Object.entries(columns).map(([name, { kind, nullable, values, description }]) => {
      const known = values === undefined ? schemas[kind] : z.enum(values);
      const schema = nullable ? known.nullable() : known;
      return [name, description === undefined ? schema : schema.openapi({ description })];
    }),
  ));
}
