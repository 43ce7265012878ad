/**
 * What the routes share: a checked query in, a described answer out, the same in the OpenAPI document.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import type { Api } from "./env.ts";
import { createSharedAnswers } from "../core/shared_answer.ts";
import { parseMicros } from "../core/time.ts";
import { type Columns, rowSchema, selectList } from "./columns.ts";
import { type CursorPosition, decodeCursor, encodeCursor, listName } from "./cursor.ts";
import { type Asker, shareQueries } from "./lanes.ts";
import type { Parameters, ReadClient } from "./read_client.ts";
import { etagOf, taggedAnswer } from "./etag.ts";
import { cursor, format, limit as limitOf, maxJsonRows, readQuery, timeFormat } from "./parameters.ts";
import { invalid, problemKinds } from "./problem.ts";

/** A request's parameters, checked, and what else a handler needs of it. */
export interface RouteInput<S extends z.ZodRawShape> {
  query: z.output<z.ZodObject<S>>;
  given: URLSearchParams;
  request: Request;
  /** On whose account queries run; each kind of work says its lane. */
  client: string;
}

interface RouteOptions<S extends z.ZodRawShape> {
  path: string;
  summary: string;
  description: string;
  parameters: S;
  /** Of the JSON answer. */
  answer: z.ZodType;
  /** Media types beside JSON. */
  more?: string[];
}

const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  parameter: z.string().optional(),
  allowed: z.string().optional(),
  nearest: z.array(z.string()).optional(),
  limit: z.string().optional(),
}).openapi("Problem");

/** Which problems an operation can answer with; unexpected faults aside. */
const problemStatuses = [400, 401, 403, 404, 422, 429, 503] as const;

/** Registers a GET: the route, and its description in the document. */
export function addRoute<S extends z.ZodRawShape>(
  app: Api,
  options: RouteOptions<S>,
  handle: (input: RouteInput<S>) => Promise<Response>,
): void {
  const { path, summary, description, parameters, answer, more = [] } = options;
  const schema = z.strictObject(parameters);
  app.openAPIRegistry.registerPath({
    method: "get",
    path,
    summary,
    description,
    operationId: path.split("/").at(-1) ?? path,
    security: [{}, { token: [] }],
    request: { query: schema as z.ZodObject },
    responses: {
      200: {
        description: "The answer.",
        content: {
          "application/json": { schema: answer },
          ...Object.fromEntries(
            more.map((type) => [type, { schema: z.string().openapi({ format: "binary" }) }]),
          ),
        },
      },
      304: { description: "Unchanged since the answer whose ETag stands in If-None-Match." },
      ...Object.fromEntries(problemStatuses.map((status) => [status, {
        description: Object.values(problemKinds).filter((kind) => kind.status === status)
          .map(({ title }) => title).join("; "),
        content: { "application/problem+json": { schema: problem } },
      }])),
    },
  });
  app.get(path, (context) => {
    const given = new URL(context.req.url).searchParams;
    const query = readQuery(schema, given);
    return handle({ query, given, request: context.req.raw, client: context.get("client") });
  });
}

/** Which rows of a view. Everything in it is SQL of ours; values are in `parameters`. */
export interface Selection {
  /** The view, aliased `v`. */
  from: string;
  where?: string[];
  order: string;
  parameters: Parameters;
  /** Says where the page behind a row begins, when one more row is there. */
  place?: (row: Record<string, unknown>) => CursorPosition;
  /** Says where the next page begins when no row of this one is left over, but the range goes on. */
  rest?: CursorPosition;
  /** Everybody asks for just this, again and again: a page that was read a moment ago does. */
  isNewest?: boolean;
}

interface ListOptions<S extends z.ZodRawShape> {
  path: string;
  summary: string;
  description: string;
  parameters: S;
  columns: Columns;
  defaultLimit: number;
  /** The parts of a cursor; none when the list has no pages. */
  place?: ("string" | "number")[];
  select(
    input: RouteInput<S>,
    page: { place?: CursorPosition; limit: number },
  ): Promise<Selection> | Selection;
}

/** Format → how ClickHouse calls it, its media type. */
export const formats = {
  csv: { name: "CSVWithNames", type: "text/csv; charset=utf-8; header=present" },
  arrow: { name: "ArrowStream", type: "application/vnd.apache.arrow.stream" },
  parquet: { name: "Parquet", type: "application/vnd.apache.parquet" },
} as const;

/** The parameters that say how rows are shown. */
export const shown = { format, time_format: timeFormat };

/** `{"data":[…],"next":…}` */
export function pageSchema(row: z.ZodType): z.ZodObject {
  return z.strictObject({
    data: z.array(row),
    next: z.string().nullable().openapi({
      description: "The cursor of the next page; null on the last one.",
    }),
  });
}

/** Registers a list in all formats, in pages when it is JSON. */
export function addList<const S extends z.ZodRawShape>(
  app: Api,
  clickhouse: ReadClient,
  options: ListOptions<S>,
): void {
  const { path, columns, parameters, place: shape = [], defaultLimit } = options;
  const newest = sharePages();
  const paging = { limit: limitOf(defaultLimit), ...(shape.length > 0 ? { cursor } : {}) };
  addRoute(app, {
    ...options,
    parameters: { ...parameters, ...paging, ...shown },
    answer: pageSchema(rowSchema(columns)),
    more: Object.values(formats).map(({ type }) => type.split(";")[0] ?? type),
  }, async (input) => {
    // The shapes were spread together: each part is what it was.
    const query = input.query as unknown as RouteInput<
      typeof shown & { limit: typeof paging.limit; cursor: typeof cursor }
    >["query"];
    const list = listName(path, input.given);
    const place = readPlace(list, query.cursor, shape);
    const rows = assertLimit(query.limit, query.format);
    const selection = await options.select(input as unknown as RouteInput<S>, {
      limit: rows,
      ...(place && { place }),
    });
    const sql = `SELECT ${selectList(columns, query.time_format)} FROM ${selection.from}
      WHERE ${["true", ...selection.where ?? []].join(" AND ")}
      ORDER BY ${selection.order} LIMIT {limit:UInt64}`;
    const { client, request: { signal } } = input;
    if (query.format !== "json") {
      const values = { ...selection.parameters, limit: rows };
      return await streamed(
        clickhouse,
        `${sql} FORMAT ${formats[query.format].name}`,
        values,
        query.format,
        path,
        { client, lane: "export", signal },
      );
    }
    const values = { ...selection.parameters, limit: rows + 1 };
    const read = async (asker: Asker) => {
      const text = await clickhouse.text(`${sql} FORMAT JSONEachRow`, values, asker);
      const lines = text.split("\n").filter(Boolean);
      const last = lines.length > rows ? lines[rows - 1] : undefined;
      const next = last !== undefined ? selection.place?.(JSON.parse(last)) : selection.rest;
      return pageBody(lines.slice(0, rows), next && encodeCursor(list, next));
    };
    if (!selection.isNewest || rows > defaultLimit) {
      return jsonAnswer(input.request, await read({ client, lane: "interactive", signal }));
    }
    const key = JSON.stringify([list, sql, values]);
    return taggedAnswer(input.request, await newest(key)({ client, lane: "shared", read }));
  });
}

/** What a page that many ask for is computed by. */
interface PageAsker extends Asker {
  read(asker: Asker): Promise<string>;
}

/** A page is read once for all who ask within this time; one that is a little older is given while it is read again. */
const pageFreshMs = 100;
const pageStaleMs = 500;

function sharePages() {
  return createSharedAnswers(async (_, asker: PageAsker) => {
    const bytes = new TextEncoder().encode(await asker.read(asker));
    return { bytes, headers: jsonHeaders(), etag: etagOf(bytes) };
  }, { freshMs: pageFreshMs, staleMs: pageStaleMs, maxKeys: 200, ...shareQueries });
}

/** @throws {Problem} when the cursor isn't one of this list */
export function readPlace(
  list: string,
  given: string | undefined,
  shape: readonly ("string" | "number")[],
): CursorPosition | undefined {
  if (given === undefined) return undefined;
  const place = decodeCursor(list, given, shape);
  if (place !== undefined) return place;
  throw invalid("cursor", given, "what `next` of the page before described, with the same other parameters");
}

/** @throws {Problem} when JSON would be too long */
export function assertLimit(rows: number, wanted: z.output<typeof format>): number {
  if (wanted !== "json" || rows <= maxJsonRows) return rows;
  throw invalid(
    "limit",
    rows,
    `at most ${maxJsonRows} with format=json; csv, arrow and parquet take up to 1000000`,
  );
}

/** A JSON page made of lines that are JSON already. */
export function pageOf(
  request: Request,
  lines: readonly string[],
  next: string | undefined,
  cacheControl?: string,
): Response {
  return jsonAnswer(request, pageBody(lines, next), cacheControl);
}

function pageBody(lines: readonly string[], next: string | undefined): string {
  return `{"data":[${lines.join(",")}],"next":${JSON.stringify(next ?? null)}}`;
}

/** JSON with its ETag, or 304 when the client has it already. */
export function jsonAnswer(request: Request, body: string, cacheControl?: string): Response {
  return taggedAnswer(request, { bytes: new TextEncoder().encode(body), headers: jsonHeaders(cacheControl) });
}

function jsonHeaders(cacheControl = "no-cache") {
  return { "content-type": "application/json", "cache-control": cacheControl };
}

/** ClickHouse's own bytes, as a download. */
export async function streamed(
  clickhouse: ReadClient,
  statement: string,
  parameters: Parameters,
  wanted: keyof typeof formats,
  path: string,
  asker: Asker,
): Promise<Response> {
  const bytes = await clickhouse.stream(statement, parameters, asker);
  return new Response(bytes, {
    headers: {
      "content-type": formats[wanted].type,
      "content-disposition": `attachment; filename="${path.split("/").at(-1)}.${wanted}"`,
      "cache-control": "no-store",
    },
  });
}

/** A time of a row, in either format, in µs. */
export function microsOf(value: unknown): number {
  return typeof value === "number" ? value : parseMicros(String(value));
}
