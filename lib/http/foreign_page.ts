/**
 * Requests that a browser sends for a page of somewhere else. Servers on loopback refuse them: any page that is open in a
 * browser of this machine can send them, and nobody asked the person.
 *
 * @module
 */

import { hostName, isLoopback } from "./access.ts";

/**
 * True when a browser says that the request comes from a page of another site: by Fetch Metadata, which also marks
 * images, scripts, frames and links; by an `Origin` that isn't loopback, `null` of a sandboxed frame too; by such a
 * `Referer`. Programs send none of these.
 */
export function isFromForeignPage(headers: Headers): boolean {
  const site = headers.get("sec-fetch-site");
  // `none` is an address that a person typed.
  if (site !== null && site !== "same-origin" && site !== "none") return true;
  return ["origin", "referer"].some((name) => {
    const page = headers.get(name);
    return page !== null && !(URL.canParse(page) && isLoopback(new URL(page).hostname));
  });
}

/** True for a request to a loopback name that no foreign page sent. The name matters: others can be bent to 127.0.0.1. */
export function isFromThisMachine(headers: Headers): boolean {
  return isLoopback(hostName(headers.get("host"))) && !isFromForeignPage(headers);
}
