/**
 * Tokens: in `Authorization`, or among the subprotocols of a WebSocket.
 *
 * @module
 */

import { givenToken, tokenIndex } from "../../http/access.ts";
import { clientNetwork } from "../../http/client_address.ts";
import type { ApiMiddleware, OnRefused } from "../env.ts";
import { Problem } from "../problem.ts";

/** @param tokens without any, everybody may ask */
export function bearer(tokens: readonly string[], onRefused: OnRefused): ApiMiddleware {
  return (context, next) => {
    const network = clientNetwork(context.env.address);
    if (tokens.length === 0) {
      context.set("client", network);
      return next();
    }
    const given = givenToken(context.req.raw);
    const index = given === undefined ? -1 : tokenIndex(tokens, given);
    if (index >= 0) {
      context.set("client", `${network} ${index}`);
      return next();
    }
    onRefused("token");
    throw new Problem("unauthorized", {
      detail: given === undefined
        ? "Send `Authorization: Bearer <token>` with one of API_TOKENS (of a WebSocket: see docs/stream.md)."
        : "This token isn't one of API_TOKENS.",
      headers: {
        "www-authenticate": `Bearer realm="tapehouse"${given === undefined ? "" : ', error="invalid_token"'}`,
      },
    });
  };
}
