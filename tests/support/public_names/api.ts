/**
 * The names of the REST API, as its OpenAPI document has them, and of its problems.
 *
 * @module
 */

import { createApp } from "../../../lib/api/app.ts";
import { problemKinds } from "../../../lib/api/problem.ts";
import type { ReadClient } from "../../../lib/api/read_client.ts";
import { openAppOptions } from "../app_options.ts";
import { fieldsOfSchema, type Schema } from "./json_fields.ts";

interface Operation {
  parameters?: { name: string; schema: Schema }[];
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
}

interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

/** `GET path?parameter` and `GET path field`. */
export async function apiNames(): Promise<string[]> {
  const { paths, components: { schemas } } = await readOpenApi();
  return Object.entries(paths).flatMap(([path, { get }]) => {
    const parameters = (get?.parameters ?? []).flatMap(({ name, schema }) =>
      fieldsOfSchema(schema, schemas, `?${name}`)
    );
    const answer = get?.responses["200"]?.content?.["application/json"]?.schema ?? {};
    return [...parameters, ...fieldsOfSchema(answer, schemas).map((field) => ` ${field}`)]
      .map((name) => `GET ${path}${name}`);
  }).sort();
}

/** The kinds of problems with their statuses, which are anchors of `/docs`, and the fields of a problem. */
export async function problemNames(): Promise<string[]> {
  const { components: { schemas } } = await readOpenApi();
  const kinds = Object.entries(problemKinds).map(([kind, { status }]) => `/docs#${kind} ${status}`);
  return [...kinds, ...fieldsOfSchema(schemas.Problem ?? {})];
}

async function readOpenApi(): Promise<OpenApi> {
  const app = createApp({
    ...openAppOptions,
    clickhouse: {} as unknown as ReadClient,
    health: { live: () => null, ready: () => null },
  });
  const request = new Request("http://127.0.0.1:8080/openapi.json", { headers: { host: "127.0.0.1:8080" } });
  return await (await app(request, "127.0.0.1")).json();
}
