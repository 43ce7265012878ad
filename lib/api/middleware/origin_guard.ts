/**
 * A browser says where a request comes from: what another site's page sends costs nothing but this answer.
 *
 * @module
 */

import { isFromOtherSite } from "../../http/access.ts";
import type { ApiMiddleware, OnRefused } from "../env.ts";
import { Problem } from "../problem.ts";

/** @param options.navigable a link of another site may lead here */
export function originGuard(
  origins: readonly string[],
  onRefused: OnRefused,
  { navigable = false } = {},
): ApiMiddleware {
  return (context, next) => {
    if (!isFromOtherSite(context.req.raw, origins, navigable)) return next();
    onRefused("origin");
    throw new Problem("forbidden-origin", {
      detail: "A page of another site sent this request: to allow it, name its origin in API_CORS_ORIGINS.",
    });
  };
}
