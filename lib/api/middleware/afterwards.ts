/**
 * Middlewares of hono's that set headers, run when the answer is there: then it is changed in place. Set before, hono would
 * copy the answer, which turns a body of bytes into a stream, slower to send. The answer to a WebSocket's handshake
 * takes no headers.
 *
 * @module
 */

import type { ApiContext, ApiMiddleware } from "../env.ts";

/** Chooses a middleware by the finished answer. */
export function afterwards(choose: (context: ApiContext) => ApiMiddleware | undefined): ApiMiddleware {
  return async (context, next) => {
    await next();
    if (context.res.status !== 101) await choose(context)?.(context, () => Promise.resolve());
  };
}
