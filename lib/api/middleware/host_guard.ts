/**
 * On loopback only loopback names are answered: a page can bend its own name to 127.0.0.1.
 *
 * @module
 */

import { isServedHost } from "../../http/access.ts";
import type { ApiMiddleware, OnRefused } from "../env.ts";
import { Problem } from "../problem.ts";

/** @param listening the address that the API listens on */
export function hostGuard(
  listening: string,
  allowed: readonly string[],
  onRefused: OnRefused,
): ApiMiddleware {
  return (context, next) => {
    if (isServedHost(listening, allowed, context.req.raw.headers.get("host"))) return next();
    onRefused("host");
    throw new Problem("forbidden-host", {
      detail:
        "This API listens on this machine alone and was called by another name: add it to API_ALLOWED_HOSTS.",
    });
  };
}
