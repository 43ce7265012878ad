/**
 * The stranger's REST: the time, and pages of trades.
 *
 * @module
 */

import { amount, type Listing, money } from "./market.ts";

/** The answer to a GET of `url`. */
export function answerRest(url: URL, listings: Map<string, Listing>): Response {
  if (url.pathname === "/time") {
    return Response.json({ iso: new Date().toISOString(), epoch: Date.now() / 1000 });
  }
  const product = /^\/products\/([^/]+)\/trades$/.exec(url.pathname)?.[1];
  const listing = listings.get(product ?? "");
  return listing === undefined
    ? Response.json({ message: "NotFound" }, { status: 404 })
    : tradesPage(listing, url.searchParams);
}

/** How REST fails now and then, for a `roll` from 0 to 1: it is overloaded, or answers nonsense. */
export function failure(roll: number): Response | undefined {
  if (roll < 0.05) return Response.json({ message: "Public rate limit exceeded" }, { status: 429 });
  if (roll < 0.08) return new Response("<html>bad gateway</html>", { status: 502 });
  return undefined;
}

/** `GET /products/X/trades?limit&before&after`: newest first, with the cursors of the next pages in headers. */
function tradesPage({ deals, firstId }: Listing, query: URLSearchParams): Response {
  const limit = Math.min(1000, Number(query.get("limit") ?? 1000));
  const after = Number(query.get("after") ?? Infinity);
  const before = Number(query.get("before") ?? -Infinity);
  const end = Math.min(deals.length, after - firstId);
  const page = deals.slice(Math.max(0, before - firstId + 1, end - limit), Math.max(0, end)).toReversed();
  const headers = new Headers();
  if (page.length > 0) {
    headers.set("cb-before", String(page[0]!.id));
    headers.set("cb-after", String(page.at(-1)!.id));
  }
  return Response.json(
    page.map((made) => ({
      trade_id: made.id,
      side: made.makerSide,
      size: amount(made.units),
      price: money(made.cents),
      time: made.time,
    })),
    { headers },
  );
}
