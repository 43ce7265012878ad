/**
 * How many requests a second a client may send, told in each answer.
 *
 * @module
 */

import { createRateLimit } from "../../core/token_bucket.ts";
import { clientNetwork } from "../../http/client_address.ts";
import type { ApiMiddleware, OnRefused } from "../env.ts";
import { Problem } from "../problem.ts";

/** @param perSecond 0 for no limit */
export function rateLimit(perSecond: number, onRefused: OnRefused): ApiMiddleware {
  if (perSecond <= 0) return (_, next) => next();
  const take = createRateLimit({ perSecond });
  return async (context, next) => {
    const { allowed, limit, remaining, resetSeconds, retrySeconds } = take(
      clientNetwork(context.env.address),
    );
    const headers = {
      "ratelimit-limit": String(limit),
      "ratelimit-remaining": String(remaining),
      "ratelimit-reset": String(resetSeconds),
    };
    if (!allowed) {
      onRefused("rate");
      throw new Problem("too-many-requests", {
        detail: `More than ${perSecond} requests a second.`,
        headers: { ...headers, "retry-after": String(retrySeconds) },
      });
    }
    await next();
    if (context.res.status === 101) return;
    for (const [name, value] of Object.entries(headers)) context.res.headers.set(name, value);
  };
}
