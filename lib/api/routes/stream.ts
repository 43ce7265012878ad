/**
 * `/api/stream`: the live stream's WebSocket.
 *
 * @module
 */

import { isWebSocket } from "../../http/access.ts";
import type { Api } from "../env.ts";
import { Problem } from "../problem.ts";

/** The live stream, as the API serves it. */
export interface StreamEndpoint {
  /** Answers a WebSocket's handshake; `client` is what its limits are counted by. */
  upgrade(request: Request, client: string): Response;
  /** For `/api/status`. */
  status(): { clients: number };
}

/** Adds `/api/stream`. */
export function addStream(app: Api, stream: StreamEndpoint | undefined): void {
  app.get("/api/stream", (context) => {
    const request = context.req.raw;
    if (!isWebSocket(request)) {
      throw new Problem("not-found", { detail: "/api/stream is a WebSocket: connect with ws:// or wss://." });
    }
    if (stream === undefined) {
      throw new Problem("unavailable", {
        detail: "The stream isn't running.",
        headers: { "retry-after": "5" },
      });
    }
    return stream.upgrade(request, context.get("client"));
  });
}
