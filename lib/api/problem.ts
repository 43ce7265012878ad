/**
 * Errors of the API, as `application/problem+json` (RFC 9457).
 *
 * @module
 */

import type { ErrorHandler } from "hono";
import type { Logger } from "../process/log.ts";
import type { ApiEnv } from "./env.ts";

/** What each kind of problem is called, and its status. The type's URI is `/docs#<kind>`. */
export const problemKinds = {
  "invalid-parameter": { status: 400, title: "A parameter isn't valid" },
  "unauthorized": { status: 401, title: "A token is required" },
  "forbidden-host": { status: 403, title: "This host name isn't served" },
  "forbidden-origin": { status: 403, title: "Pages of other sites may not ask" },
  "unknown-product": { status: 404, title: "No such product" },
  "not-found": { status: 404, title: "Not found" },
  "method-not-allowed": { status: 405, title: "This method isn't offered" },
  "over-limit": { status: 422, title: "The query goes beyond a limit" },
  "too-many-requests": { status: 429, title: "Too many requests" },
  "internal": { status: 500, title: "The API has a fault" },
  "unavailable": { status: 503, title: "ClickHouse is unavailable" },
} as const;

/** One of the kinds above. */
export type ProblemKind = keyof typeof problemKinds;

/** What a problem says beside its kind. */
export interface ProblemDetails {
  /** One sentence: what was wrong, with which value. */
  detail: string;
  /** The parameter that is wrong. */
  parameter?: string;
  /** What is allowed in its place. */
  allowed?: string;
  /** Products whose names are near to the unknown one. */
  nearest?: string[];
  /** The limit that was passed, by ClickHouse's name. */
  limit?: string;
  /** More headers of the answer. */
  headers?: Record<string, string>;
}

/** Thrown by whoever finds out; the app answers with it. */
export class Problem extends Error {
  override name = "Problem";

  constructor(readonly kind: ProblemKind, readonly details: ProblemDetails) {
    super(details.detail);
  }
}

/** The answer that tells a client of a problem. */
function problemResponse({ kind, details }: Problem): Response {
  const { status, title } = problemKinds[kind];
  const { headers, ...told } = details;
  return new Response(JSON.stringify({ type: `/docs#${kind}`, title, status, ...told }), {
    status,
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...headers },
  });
}

/** Answers with whatever went wrong. */
export function problemHandler(log: Logger): ErrorHandler<ApiEnv> {
  return (error, { req }) => {
    if (error instanceof Problem) return problemResponse(error);
    // Nobody hears what becomes of a request that was given up.
    if (req.raw.signal.aborted) return new Response(null, { status: 499 });
    log.error("request failed", { path: new URL(req.url).pathname, error });
    return problemResponse(new Problem("internal", { detail: "The API has a fault; its log says which." }));
  };
}

/** What is said of an address at which nothing is. */
export function notFound(): Problem {
  return new Problem("not-found", { detail: "Nothing is at this address. /docs lists what there is." });
}

/** A parameter that can't be used. */
export function invalid(parameter: string, value: unknown, allowed: string): Problem {
  return new Problem("invalid-parameter", {
    detail: `${parameter}=${shown(value)}: expected ${allowed}`,
    parameter,
    allowed,
  });
}

/** A client's value, fit for one line: short, and without control characters. */
export function shown(value: unknown): string {
  if (value === undefined) return "(missing)";
  // deno-lint-ignore no-control-regex
  const text = String(value).replace(/[\x00-\x1f\x7f\u2028\u2029]/g, "\uFFFD").toWellFormed();
  return text.length > 80 ? `${text.slice(0, 80).toWellFormed()}…` : text;
}
