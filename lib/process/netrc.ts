/**
 * The file by which the embedded ClickHouse says how it is reached: a netrc, so that `curl --netrc-file` takes it as it
 * is. Only its owner may read it.
 *
 * @module
 */

import { join } from "node:path";

/** Where a server is and who may ask it. */
export interface Access {
  /** Such as `http://127.0.0.1:8123`. */
  url: string;
  user: string;
  password: string;
}

/** Where the embedded ClickHouse of a TAPEHOUSE_HOME writes it. */
export function netrcPath(home: string): string {
  return join(home, "clickhouse", "netrc");
}

const heading = "# The embedded ClickHouse at ";

/** The file's text. Its first line, a comment to curl, names the port, which netrc has no word for. */
export function formatNetrc({ url, user, password }: Access): string {
  return `${heading}${url}\nmachine ${new URL(url).hostname} login ${token(user)} password ${
    token(password)
  }\n`;
}

/** Plain words stay bare: curl reads quotes only since 7.84. */
function token(text: string): string {
  if (/^[\w.~+/=-]+$/.test(text)) return text;
  const escaped = text.replace(/[\\"]/g, "\\$&")
    .replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t");
  return `"${escaped}"`;
}

/** Reads what `formatNetrc` wrote; undefined for anything else. */
export function parseNetrc(text: string): Access | undefined {
  const word = String.raw`("(?:[^"\\]|\\.)*"|\S+)`;
  const found = new RegExp(`^${heading}(\\S+)\nmachine \\S+ login ${word} password ${word}\n$`).exec(text);
  if (!found) return undefined;
  const [, url = "", user = "", password = ""] = found;
  return { url, user: plain(user), password: plain(password) };
}

function plain(token: string): string {
  if (!token.startsWith('"')) return token;
  const named: Record<string, string> = { n: "\n", r: "\r", t: "\t" };
  return token.slice(1, -1).replace(/\\(.)/g, (_, character: string) => named[character] ?? character);
}
