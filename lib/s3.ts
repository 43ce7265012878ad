/**
 * The objects of one S3 bucket: signed requests (AWS Signature Version 4) by fetch, for Amazon and everything that speaks
 * its protocol.
 *
 * @module
 */

import { createHash, createHmac } from "node:crypto";
import { type Config, ConfigError, type Variable } from "./config.ts";
import { FatalError } from "./service.ts";

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

/** A bucket. All methods throw a FatalError of one line when S3 is away or refuses. */
export interface S3 {
  /** The object's address, as ClickHouse's s3() takes it; it holds no secret. */
  url(key: string): string;
  /** @throws {FatalError} when there is no such bucket, or the keys don't open it */
  checkBucket(): Promise<void>;
  /** All objects whose key begins with `prefix`, in the order of their keys. */
  list(prefix: string): Promise<S3Object[]>;
  /** The object's text; undefined when it isn't there. */
  readText(key: string): Promise<string | undefined>;
  /** The size and the SHA-256 (hexadecimal) of the bytes that S3 sends; undefined when there is no such object. */
  hash(key: string): Promise<{ bytes: number; sha256: string } | undefined>;
  /** Writes the object, whatever was there. */
  write(key: string, body: string | Uint8Array<ArrayBuffer>): Promise<void>;
}

/**
 * Checks that everything without a default is set.
 *
 * @throws {ConfigError} naming what isn't
 */
export function requireS3(config: S3Config): void {
  const needed = ["S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY"] as const;
  const missing = needed.filter((name) => config[name] === "");
  if (missing.length === 0) return;
  const verb = missing.length === 1 ? "isn't" : "aren't";
  throw new ConfigError(`${missing.join(", ")} ${verb} set: the archive and the backups need an S3 bucket.`);
}

/**
 * Where an object lies. Amazon's own endpoints take the bucket as a part of the host's name, unless it holds a dot, which
 * their certificate doesn't cover; everybody else takes it as the first part of the path.
 */
export function objectUrl(config: Pick<S3Config, "S3_ENDPOINT" | "S3_BUCKET">, key: string): string {
  const url = new URL(config.S3_ENDPOINT);
  const bucket = config.S3_BUCKET;
  const inHost = url.hostname.endsWith(".amazonaws.com") && !bucket.includes(".");
  if (inHost && !url.hostname.startsWith(`${bucket}.`)) url.host = `${bucket}.${url.host}`;
  const base = `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, "")}`;
  const path = key.split("/").map(encode).join("/");
  return inHost ? `${base}/${path}` : `${base}/${bucket}/${path}`;
}

/** What a request is signed with. */
export interface Signing {
  region: string;
  accessKey: string;
  secretKey: string;
  /** UTC. */
  now: Date;
}

/**
 * The headers of a signed request: `headers` and those that the signature adds.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 *
 * @param address the whole address; its path is percent-encoded already
 * @param bodySha256 of the body, hexadecimal
 */
export function sign(
  method: string,
  address: string,
  headers: Record<string, string>,
  bodySha256: string,
  { region, accessKey, secretKey, now }: Signing,
): Record<string, string> {
  const url = new URL(address);
  const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = `${time.slice(0, 8)}/${region}/s3/aws4_request`;
  const added = { "x-amz-content-sha256": bodySha256, "x-amz-date": time };
  const signed = Object.entries({ ...headers, ...added, host: url.host })
    .map(([name, value]): [string, string] => [name.toLowerCase(), value.trim()]).sort(byFirst);
  const names = signed.map(([name]) => name).join(";");
  const request = [
    method,
    url.pathname,
    [...url.searchParams].map(([name, value]): [string, string] => [encode(name), encode(value)]).sort(
      byFirst,
    )
      .map(([name, value]) => `${name}=${value}`).join("&"),
    ...signed.map(([name, value]) => `${name}:${value}`),
    "",
    names,
    bodySha256,
  ].join("\n");
  const key = [time.slice(0, 8), region, "s3", "aws4_request"]
    .reduce<string | Uint8Array>((secret, part) => hmac(secret, part), `AWS4${secretKey}`);
  const text = ["AWS4-HMAC-SHA256", time, scope, sha256(request)].join("\n");
  const signature = hmac(key, text).toString("hex");
  return {
    ...headers,
    ...added,
    authorization:
      `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope},SignedHeaders=${names},Signature=${signature}`,
  };
}

/** What a listing's XML names, and where the next page begins. */
export function readListing(xml: string): { objects: S3Object[]; next?: string } {
  const objects = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, entry = ""]) => ({
    key: decodeURIComponent((element(entry, "Key") ?? "").replaceAll("+", "%20")),
    bytes: Number(element(entry, "Size")),
  }));
  const next = element(xml, "NextContinuationToken");
  return { objects, ...(next && element(xml, "IsTruncated") === "true" && { next }) };
}

/** Opens the bucket; nothing is sent before the first call. */
export function openS3(config: S3Config): S3 {
  const where = `S3 at ${config.S3_ENDPOINT} (S3_ENDPOINT)`;

  async function send(
    method: string,
    key: string,
    options: { search?: Record<string, string>; body?: string | Uint8Array<ArrayBuffer> } = {},
  ): Promise<Response> {
    const search = new URLSearchParams(options.search).toString().replaceAll("+", "%20");
    const url = objectUrl(config, key) + (search && `?${search}`);
    const body = options.body ?? "";
    const headers = sign(method, url, {}, sha256(body), {
      region: config.S3_REGION,
      accessKey: config.S3_ACCESS_KEY,
      secretKey: config.S3_SECRET_KEY,
      now: new Date(),
    });
    try {
      return await fetch(url, { method, headers, ...(options.body !== undefined && { body }) });
    } catch (error) {
      // The inner error says why; the outer one repeats the address.
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      throw new FatalError(`${where} doesn't answer: ${oneLine(cause)}`);
    }
  }

  /** @throws {FatalError} what S3 says, in the words of the settings that may be wrong */
  async function refuse(response: Response, what: string): Promise<never> {
    const body = await response.text();
    const code = element(body, "Code") ?? `HTTP ${response.status}`;
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
      `${where} can't do ${what}: ${code} ${oneLine(element(body, "Message") ?? "")}`.trim(),
    );
  }

  /** The first page, or all. */
  async function list(prefix: string, all: boolean): Promise<S3Object[]> {
    const objects: S3Object[] = [];
    let next: string | undefined;
    do {
      const response = await send("GET", "", {
        search: {
          "list-type": "2",
          "encoding-type": "url",
          "max-keys": all ? "1000" : "1",
          prefix,
          ...(next !== undefined && { "continuation-token": next }),
        },
      });
      if (!response.ok) return await refuse(response, `a listing of ${config.S3_BUCKET}`);
      const page = readListing(await response.text());
      objects.push(...page.objects);
      next = page.next;
    } while (next !== undefined && all);
    return objects;
  }

  return {
    url: (key) => objectUrl(config, key),
    // A listing, because a HEAD of the bucket says only 403 or 404, without a reason.
    checkBucket: async () => void await list(config.S3_PREFIX, false),
    list: (prefix) => list(prefix, true),
    async readText(key) {
      const response = await send("GET", key);
      if (response.ok) return await response.text();
      if (response.status === 404) return void await response.body?.cancel();
      return await refuse(response, `reading ${key}`);
    },
    async hash(key) {
      const response = await send("GET", key);
      if (response.status === 404) return void await response.body?.cancel();
      if (!response.ok || response.body === null) return await refuse(response, `reading ${key}`);
      const hash = createHash("sha256");
      let bytes = 0;
      try {
        for await (const chunk of response.body) {
          hash.update(chunk);
          bytes += chunk.length;
        }
      } catch (error) {
        throw new FatalError(`${where} broke off while ${key} was read: ${oneLine(error)}`);
      }
      return { bytes, sha256: hash.digest("hex") };
    },
    async write(key, body) {
      const response = await send("PUT", key, { body });
      if (!response.ok) await refuse(response, `writing ${key}`);
      await response.body?.cancel();
    },
  };
}

/** Percent-encodes all but the letters, digits and `-._~`, as the signature wants it. */
function encode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

function sha256(body: string | Uint8Array): string {
  return createHash("sha256").update(body).digest("hex");
}

function hmac(key: string | Uint8Array, text: string) {
  return createHmac("sha256", key).update(text).digest();
}

function byFirst([left]: [string, string], [right]: [string, string]): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The text of the first element of that name. */
function element(xml: string, name: string): string | undefined {
  const text = new RegExp(`<${name}>(.*?)</${name}>`, "s").exec(xml)?.[1];
  return text?.replace(/&(lt|gt|quot|apos|amp);/g, (_, entity: string) => entities[entity] ?? "");
}

const entities: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, " ").slice(0, 300);
}
