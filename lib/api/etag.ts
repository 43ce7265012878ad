/**
 * ETags: what an answer's bytes are called, and whether a client has them already.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** The strong ETag of some bytes. */
export function etagOf(bytes: Uint8Array): string {
  return `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
}

/** The ETag of the same bytes when they are compressed: equal in content, not in bytes. */
export function weak(etag: string): string {
  return etag.startsWith("W/") ? etag : `W/${etag}`;
}

/** True when the client has this answer already. A proxy that compresses marks the ETag as weak. */
export function isUnchanged(request: Request, etag: string): boolean {
  const known = request.headers.get("if-none-match") ?? "";
  return known.split(",").some((tag) => tag.trim() === "*" || weak(tag.trim()) === weak(etag));
}

/**
 * An answer with its ETag, or 304 when the client has it already.
 *
 * @param answer.packed the bytes, compressed: sent in their place
 */
export function taggedAnswer(
  request: Request,
  answer: {
    bytes: Uint8Array<ArrayBuffer>;
    headers: Record<string, string>;
    etag?: string;
    packed?: Uint8Array<ArrayBuffer> | undefined;
  },
): Response {
  const { bytes, packed, etag = etagOf(bytes) } = answer;
  const headers = { ...answer.headers, etag: packed ? weak(etag) : etag };
  if (isUnchanged(request, etag)) return new Response(null, { status: 304, headers });
  return packed
    ? new Response(packed, { headers: { ...headers, "content-encoding": "gzip" } })
    : new Response(bytes, { headers });
}
