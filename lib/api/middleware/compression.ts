/**
 * Text is compressed for those who take it; Arrow and Parquet are compressed in themselves. A client on this machine has
 * nothing from it: compressing 1,000 candles takes longer than all else of the answer. What has an ETag is compressed
 * once for all who ask for it.
 *
 * @module
 */

import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { isLoopback } from "../../http/access.ts";
import type { ApiMiddleware } from "../env.ts";
import { weak } from "../etag.ts";
import { acceptsGzip, leastGzipBytes } from "../static_file.ts";

/** Compressed answers in memory. */
const maxKeptBytes = 32 * 1024 * 1024;
const compress = promisify(gzip);

/** Compresses with gzip. */
export function compression(): ApiMiddleware {
  const gzipOf = createKeptGzip();
  return async (context, next) => {
    await next();
    const { res } = context;
    const type = res.headers.get("content-type") ?? "";
    if (res.body === null || !/^(text\/|application\/(json|problem\+json))/.test(type)) return;
    const vary = res.headers.get("vary") ?? "";
    if (!vary.includes("Accept-Encoding")) {
      res.headers.set("vary", [vary, "Accept-Encoding"].filter(Boolean).join(", "));
    }
    if (
      isLoopback(context.env.address) || res.headers.has("content-encoding") || !acceptsGzip(context.req.raw)
    ) return;
    const etag = res.headers.get("etag");
    const bytes = type.startsWith("text/csv") ? undefined : await res.bytes();
    const isSmall = bytes !== undefined && bytes.length < leastGzipBytes;
    const body = bytes === undefined
      ? res.body.pipeThrough(new CompressionStream("gzip"))
      : isSmall
      ? bytes
      : await gzipOf(etag, bytes);
    const answer = new Response(body, res);
    if (!isSmall) {
      answer.headers.set("content-encoding", "gzip");
      if (etag !== null) answer.headers.set("etag", weak(etag));
    }
    // Else hono would copy it once more, for the headers of the one before.
    context.res = undefined;
    context.res = answer;
  };
}

/** Compresses; what has an ETag is kept. */
function createKeptGzip() {
  /** The one that was wanted longest ago stands first. */
  const kept = new Map<string, Uint8Array<ArrayBuffer>>();
  let keptBytes = 0;
  return async (etag: string | null, bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> => {
    const known = etag === null ? undefined : kept.get(etag);
    // The fastest level: three quarters are saved by it, and the best would take longer than the query.
    const small = known ?? new Uint8Array(await compress(bytes, { level: 1 }));
    if (etag === null) return small;
    keptBytes += small.length - (kept.get(etag)?.length ?? 0);
    kept.delete(etag);
    kept.set(etag, small);
    for (const [oldest, { length }] of kept) {
      if (keptBytes <= maxKeptBytes) break;
      kept.delete(oldest);
      keptBytes -= length;
    }
    return small;
  };
}
