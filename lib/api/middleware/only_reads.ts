/**
 * The API only reads. HEAD is GET without the body: hono leaves it out, and what would have been read for it is given up
 * here.
 *
 * @module
 */

import type { ApiMiddleware } from "../env.ts";
import { Problem } from "../problem.ts";

/** Refuses what is neither GET nor HEAD. */
export const onlyReads: ApiMiddleware = (context, next) => {
  const { method } = context.req;
  if (method === "GET" || method === "HEAD") return next();
  throw new Problem("method-not-allowed", {
    detail: `${method}: the API only reads, use GET or HEAD.`,
    headers: { allow: "GET, HEAD, OPTIONS" },
  });
};

/** Cancels the body of an answer to HEAD: a download would hold its place until it is seen that nobody reads. */
export const withoutBody: ApiMiddleware = async (context, next) => {
  await next();
  if (context.req.method === "HEAD") await context.res.body?.cancel();
};
