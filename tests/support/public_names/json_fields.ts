/**
 * The names in JSON: of a schema, and of a value.
 *
 * @module
 */

import { z } from "zod";

/** The parts of a JSON Schema that name something. */
export interface Schema {
  $ref?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  enum?: unknown[];
}

/**
 * Paths of fields, such as `products[].product_id`; a field of few known values once for each, as `status=open`.
 *
 * @param schemas what `$ref` refers to, by its last part
 */
export function fieldsOfSchema(schema: Schema, schemas: Record<string, Schema> = {}, path = ""): string[] {
  const inside = (other: Schema, name = "") => fieldsOfSchema(other, schemas, path + name);
  const referred = schema.$ref && schemas[schema.$ref.split("/").at(-1)!];
  if (referred) return inside(referred);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return [...new Set(choices.flatMap((each) => inside(each)))];
  if (schema.items) return inside(schema.items, "[]");
  if (schema.enum) return schema.enum.map((value) => `${path}=${value}`);
  if (schema.properties === undefined) return path === "" ? [] : [path];
  return Object.entries(schema.properties).flatMap(([name, each]) =>
    inside(each, path === "" ? name : `.${name}`)
  );
}

/** The same of what a zod schema takes. */
export function fieldsOfZod(schema: z.ZodType): string[] {
  return fieldsOfSchema(z.toJSONSchema(schema, { io: "input" }) as Schema);
}

/** The same of a value: those that it has. */
export function fieldsOfValue(value: unknown, path = ""): string[] {
  if (typeof value !== "object" || value === null) return [path];
  const fields = Array.isArray(value)
    ? value.flatMap((each) => fieldsOfValue(each, `${path}[]`))
    : Object.entries(value).flatMap(([name, each]) =>
      fieldsOfValue(each, path === "" ? name : `${path}.${name}`)
    );
  return fields.length === 0 ? [path] : [...new Set(fields)];
}
