/**
 * What pages of other origins are told. Whether their requests are looked at at all is `origin_guard.ts`.
 *
 * @module
 */

import { cors as honoCors } from "hono/cors";
import type { ApiMiddleware } from "../env.ts";
import { afterwards } from "./afterwards.ts";

/** @returns `preflight` answers OPTIONS, `headers` tells whose pages may read any other answer */
export function cors(origins: readonly string[]): { preflight: ApiMiddleware; headers: ApiMiddleware } {
  const middleware = honoCors({
    origin: origins.includes("*") ? "*" : [...origins],
    allowMethods: ["GET", "HEAD"],
    allowHeaders: ["authorization", "if-none-match"],
    exposeHeaders: ["ETag", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"],
    maxAge: 600,
  });
  return {
    preflight: (context, next) => context.req.method === "OPTIONS" ? middleware(context, next) : next(),
    headers: afterwards(({ req }) => origins.length > 0 && req.method !== "OPTIONS" ? middleware : undefined),
  };
}
