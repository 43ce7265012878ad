/**
 * An API server without Kafka and ClickHouse behind it, for building the page: it speaks the contract of REST and
 * stream and makes up a market that moves, the same every time for the same clock.
 * By itself: `deno run -A tests/support/fake_api.ts [PORT] [MESSAGES_A_SECOND]`.
 *
 * @module
 */

import { answerRest } from "./fake_api/fake_rest.ts";
import { openStream } from "./fake_api/fake_stream.ts";
import { createWorld } from "./fake_api/world.ts";

/** The server while it runs. */
export interface FakeApi {
  /** Of the page; ends with `/`. */
  url: string;
  close(): Promise<void>;
}

/**
 * Starts the server on loopback.
 *
 * @param options.port a free one by default
 * @param options.dist the folder of the built page
 * @param options.rate trades a second of the whole market
 */
export function startFakeApi(
  { port = 0, dist, rate }: { port?: number; dist: string; rate: number },
): FakeApi {
  const world = createWorld();
  const stream = openStream(world, rate);
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, (request) => {
    const url = new URL(request.url);
    if (!url.pathname.startsWith("/api/")) return readPage(dist, url.pathname);
    if (url.pathname === "/api/stream") return stream.accept(request);
    return answerRest(world, url, { rate, clients: stream.clients });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    async close() {
      stream.close();
      await server.shutdown();
    },
  };
}

const types: Record<string, string> = {
  html: "text/html",
  js: "text/javascript",
  css: "text/css",
  svg: "image/svg+xml",
};
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** A file of the page, with the policy that the API gives it. */
async function readPage(dist: string, path: string): Promise<Response> {
  const name = path === "/" ? "index.html" : path.slice(1);
  const type = types[name.split(".").at(-1) ?? ""];
  try {
    const body = await Deno.readFile(`${dist}/${name}`);
    const headers = { "content-type": `${type}; charset=utf-8`, "content-security-policy": policy };
    return new Response(body, { headers });
  } catch {
    return new Response("not found", { status: 404 });
  }
}

if (import.meta.main) {
  const [port = "8080", rate = "60"] = Deno.args;
  const dist = new URL("../../web/dist", import.meta.url).pathname;
  const api = startFakeApi({ port: Number(port), dist, rate: Number(rate) });
  console.log(`a made-up market at ${api.url}`);
}
