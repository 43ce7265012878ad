/**
 * The objects of one S3 bucket, on Amazon and everything that speaks its protocol: requests by fetch, signed by aws4fetch
 * (AWS Signature Version 4).
 *
 * @module
 */

import { DOMParser, type Element, onErrorStopParsing, ParseError } from "@xmldom/xmldom";
import { AwsClient } from "aws4fetch";
import { createHash } from "node:crypto";
import { backoffMs, sleep } from "../core/retry.ts";
import { type Config, type Variable } from "../process/config.ts";
import { ConfigError, FatalError } from "../core/errors.ts";

/** What `openS3` reads. */
export const s3Variables = [
  "S3_ENDPOINT",
  "S3_REGION",
  "S3_BUCKET",
  "S3_PREFIX",
  "S3_ACCESS_KEY",
  "S3_SECRET_KEY",
] as const satisfies readonly Variable[];

/** The part of the configuration that says where the objects are. */
export type S3Config = Config<(typeof s3Variables)[number]>;

/** An object as a listing names it; `bytes` is its size. */
export interface S3Object {
  key: string;
  bytes: number;
}

/**
 * A bucket. A request that meets no answer, an answer that stops, or a server that is busy (429, 5xx) is tried again a few
 * times; then, and when S3 refuses, all methods throw a FatalError of one line.
 */
export interface S3 {
  /** The object's address, as ClickHouse's s3() takes it; it holds no secret. */
  url(key: string): string;
  /** @throws {FatalError} when there is no such bucket, or the keys don't open it */
  assertBucket(): Promise<void>;
  /** All objects whose key begins with `prefix`, in the order of their keys. */
  list(prefix: string): Promise<S3Object[]>;
  /** The object's text; undefined when it isn't there. */
  readText(key: string): Promise<string | undefined>;
  /** The size and the SHA-256 (hexadecimal) of the bytes that S3 sends; undefined when there is no such object. */
  hash(key: string): Promise<{ bytes: number; sha256: string } | undefined>;
  /**
   * Writes the object, whatever was there, and reads it back.
   *
   * @throws {FatalError} also when S3 gives back other bytes
   */
  write(key: string, body: string | Uint8Array<ArrayBuffer>): Promise<void>;
}

/** How long S3 is waited for. */
export interface S3RetryPolicy {
  /** The longest silence, before the answer and between two pieces of it, in ms. @default {30_000} */
  silenceMs?: number;
  /** How often a request is sent at most. @default {4} */
  tries?: number;
}

/**
 * Checks that everything without a default is set.
 *
 * @throws {ConfigError} naming what isn't
 */
export function assertS3(config: S3Config): void {
  const needed = ["S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY"] as const;
  const missing = needed.filter((name) => config[name] === "");
  if (missing.length === 0) return;
  const verb = missing.length === 1 ? "isn't" : "aren't";
  throw new ConfigError(`${missing.join(", ")} ${verb} set: the archive and the backups need an S3 bucket.`);
}

/** Opens the bucket; nothing is sent before the first call. */
export function openS3(config: S3Config, { silenceMs = 30_000, tries = 4 }: S3RetryPolicy = {}): S3 {
  const bucket: Bucket = {
    config,
    where: `S3 at ${config.S3_ENDPOINT} (S3_ENDPOINT)`,
    aws: new AwsClient({
      accessKeyId: config.S3_ACCESS_KEY,
      secretAccessKey: config.S3_SECRET_KEY,
      region: config.S3_REGION,
      service: "s3",
    }),
    silenceMs,
    tries,
  };
  return {
    url: (key) => objectUrl(config, key),
    // A listing, because a HEAD of the bucket says only 403 or 404, without a reason.
    assertBucket: async () => void await listPage(bucket, config.S3_PREFIX, 1),
    list: (prefix) => listAll(bucket, prefix),
    readText: (key) => read(bucket, key, (response) => response.text()),
    hash: (key) => hash(bucket, key),
    write: (key, body) => write(bucket, key, body),
  };
}

interface Bucket {
  config: S3Config;
  /** How an error names the server. */
  where: string;
  aws: AwsClient;
  silenceMs: number;
  tries: number;
}

interface S3Request {
  method: "GET" | "PUT";
  key: string;
  /** How an error names it: `writing a/b.json`. */
  what: string;
  search?: Record<string, string>;
  body?: string | Uint8Array<ArrayBuffer>;
}

/** Reads an answer; it calls `heard` at each piece that it gets. */
type Reader<T> = (response: Response, heard: () => void) => Promise<T>;

/** Sends a request and reads its answer: `reader` is called again with a new answer after one that broke off. */
async function send<T>(bucket: Bucket, request: S3Request, reader: Reader<T>): Promise<T> {
  const { where, tries } = bucket;
  for (let failures = 1;; failures++) {
    // Anew for each try: a signature is good for some minutes only.
    const signed = await sign(bucket, request);
    const silence = watchSilence(bucket.silenceMs);
    let problem: string;
    try {
      const response = await fetch(signed, { signal: silence.signal });
      silence.heard();
      const isBusy = response.status === 429 || response.status >= 500;
      if (!isBusy || failures >= tries) return await reader(response, silence.heard);
      problem = `HTTP ${response.status}`;
      await response.body?.cancel();
    } catch (error) {
      if (error instanceof FatalError) throw error;
      // The inner error says why; the outer one repeats the address.
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      problem = oneLine(silence.signal.aborted ? silence.signal.reason : cause);
    } finally {
      silence.end();
    }
    if (failures >= tries) throw new FatalError(`${where} doesn't answer: ${problem} (${request.what})`);
    await sleep(backoffMs(failures, { maximumMs: 5000 }));
  }
}

async function sign({ aws, config }: Bucket, { method, key, search, body }: S3Request): Promise<Request> {
  const query = new URLSearchParams(search).toString().replaceAll("+", "%20");
  return await aws.sign(objectUrl(config, key) + (query && `?${query}`), {
    method,
    // aws4fetch would leave the body unsigned; so S3 refuses one that was changed on its way.
    headers: { "x-amz-content-sha256": sha256(body ?? "") },
    ...(body !== undefined && { body }),
  });
}

/** A signal that aborts when nothing is heard for so long. */
function watchSilence(silenceMs: number) {
  const silence = new AbortController();
  const giveUp = () => silence.abort(new Error(`no answer for ${silenceMs / 1000} s`));
  let timer = setTimeout(giveUp, silenceMs);
  return {
    signal: silence.signal,
    heard: () => {
      clearTimeout(timer);
      timer = setTimeout(giveUp, silenceMs);
    },
    end: () => clearTimeout(timer),
  };
}

/** @throws {FatalError} what S3 says, in the words of the settings that may be wrong */
async function assertOk({ where, config }: Bucket, response: Response, what: string): Promise<void> {
  if (response.ok) return;
  const answer = parseXml(await response.text());
  const code = textOf(answer, "Code") ?? `HTTP ${response.status}`;
  if (code === "NoSuchBucket") {
    throw new FatalError(
      `${where} has no bucket ${config.S3_BUCKET} (S3_BUCKET): create it, or name another one.`,
    );
  }
  if (response.status === 401 || response.status === 403) {
    throw new FatalError(
      `${where} refuses ${what} (${code}): check S3_ACCESS_KEY, S3_SECRET_KEY, S3_REGION and the key's rights.`,
    );
  }
  throw new FatalError(
    `${where} can't do ${what}: ${code} ${oneLine(textOf(answer, "Message") ?? "")}`.trim(),
  );
}

async function listAll(bucket: Bucket, prefix: string): Promise<S3Object[]> {
  const objects: S3Object[] = [];
  let token: string | undefined;
  do {
    const page = await listPage(bucket, prefix, 1000, token);
    objects.push(...page.objects);
    token = page.next;
  } while (token !== undefined);
  return objects;
}

/** @returns `next`: the token with which the next page begins; absent from the last */
async function listPage(
  bucket: Bucket,
  prefix: string,
  most: number,
  token?: string,
): Promise<{ objects: S3Object[]; next?: string }> {
  const what = `a listing of ${bucket.config.S3_BUCKET}`;
  const search = {
    "list-type": "2",
    // XML can't hold every character that a key may have.
    "encoding-type": "url",
    "max-keys": String(most),
    prefix,
    ...(token !== undefined && { "continuation-token": token }),
  };
  return await send(bucket, { method: "GET", key: "", what, search }, async (response) => {
    await assertOk(bucket, response, what);
    const listing = parseXml(await response.text());
    if (listing?.tagName !== "ListBucketResult") {
      throw new FatalError(
        `${bucket.where} answers ${what} with something else: is that the address of an S3?`,
      );
    }
    const objects = [...listing.getElementsByTagName("Contents")].map((entry) => ({
      key: decodeURIComponent((textOf(entry, "Key") ?? "").replaceAll("+", "%20")),
      bytes: Number(textOf(entry, "Size")),
    }));
    const next = textOf(listing, "NextContinuationToken");
    return { objects, ...(next && textOf(listing, "IsTruncated") === "true" && { next }) };
  });
}

/** Undefined when there is no such object. */
async function read<T>(bucket: Bucket, key: string, reader: Reader<T>): Promise<T | undefined> {
  const what = `reading ${key}`;
  return await send(bucket, { method: "GET", key, what }, async (response, heard) => {
    if (response.status === 404) return void await response.body?.cancel();
    await assertOk(bucket, response, what);
    return await reader(response, heard);
  });
}

async function hash(bucket: Bucket, key: string): Promise<{ bytes: number; sha256: string } | undefined> {
  return await read(bucket, key, async (response, heard) => {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      heard();
      hash.update(chunk);
      bytes += chunk.length;
    }
    return { bytes, sha256: hash.digest("hex") };
  });
}

async function write(bucket: Bucket, key: string, body: string | Uint8Array<ArrayBuffer>): Promise<void> {
  const what = `writing ${key}`;
  await send(bucket, { method: "PUT", key, what, body }, async (response) => {
    await assertOk(bucket, response, what);
    await response.body?.cancel();
  });
  const stored = await hash(bucket, key);
  if (stored?.sha256 === sha256(body)) return;
  throw new FatalError(
    `${bucket.where} was given ${key} and gives back ${stored === undefined ? "nothing" : "other bytes"}.`,
  );
}

/**
 * Where an object lies. Amazon's own endpoints take the bucket as a part of the host's name, unless it holds a dot, which
 * their certificate doesn't cover; everybody else takes it as the first part of the path.
 */
function objectUrl({ S3_ENDPOINT, S3_BUCKET }: S3Config, key: string): string {
  const url = new URL(S3_ENDPOINT);
  const inHost = url.hostname.endsWith(".amazonaws.com") && !S3_BUCKET.includes(".");
  if (inHost && !url.hostname.startsWith(`${S3_BUCKET}.`)) url.host = `${S3_BUCKET}.${url.host}`;
  const base = `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, "")}`;
  const path = key.split("/").map(encode).join("/");
  return inHost ? `${base}/${path}` : `${base}/${S3_BUCKET}/${path}`;
}

/** Percent-encodes all but the letters, digits and `-._~`: ClickHouse's s3() takes a `*` for a pattern. */
function encode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The outermost element; undefined when it isn't XML, such as the page of a proxy. */
function parseXml(text: string): Element | undefined {
  try {
    const document = new DOMParser({ onError: onErrorStopParsing }).parseFromString(text, "text/xml");
    return document.documentElement ?? undefined;
  } catch (error) {
    if (error instanceof ParseError) return undefined;
    throw error;
  }
}

/** The text of the first element of that name. */
function textOf(parent: Element | undefined, name: string): string | undefined {
  return parent?.getElementsByTagName(name)[0]?.textContent ?? undefined;
}

function sha256(body: string | Uint8Array): string {
  return createHash("sha256").update(body).digest("hex");
}

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, " ").slice(0, 300);
}
