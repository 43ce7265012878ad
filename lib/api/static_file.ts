/**
 * Texts and files that are the same for everybody: hashed and compressed once.
 *
 * @module
 */

import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { etagOf, taggedAnswer } from "./etag.ts";

/** What is sent to everybody. */
export interface StaticFile {
  type: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** Undefined where compressing wins nothing. */
  packed: Uint8Array<ArrayBuffer> | undefined;
  etag: string;
}

/** Shorter ones aren't worth compressing. */
export const leastGzipBytes = 1024;
const compress = promisify(gzip);

/** @param type with its charset */
export async function staticFile(
  content: string | Uint8Array<ArrayBuffer>,
  type: string,
): Promise<StaticFile> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const packed = bytes.length < leastGzipBytes || /^(image\/png|font)/.test(type)
    ? undefined
    // Beside the event loop: a script of a megabyte takes a tenth of a second.
    : new Uint8Array(await compress(bytes, { level: 9 }));
  return { type, bytes, packed, etag: etagOf(bytes) };
}

/** Answers with a file, compressed for those who take it: a browser asks each time whether it changed. */
export function fileAnswer(request: Request, { type, bytes, packed, etag }: StaticFile): Response {
  return taggedAnswer(request, {
    bytes,
    etag,
    packed: acceptsGzip(request) ? packed : undefined,
    headers: {
      "content-type": type,
      "cache-control": "no-cache",
      ...(packed && { vary: "Accept-Encoding" }),
    },
  });
}

/** True for a client that takes gzip. */
export function acceptsGzip(request: Request): boolean {
  return /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/i.test(request.headers.get("accept-encoding") ?? "");
}
