/**
 * What the address bar keeps, so that a reload or a shared link shows the same view.
 *
 * @module
 */

import { readInterval } from "./intervals.ts";
import { knownZone } from "./time_text.ts";

/** The view; each field has a default that the address leaves out. */
export interface View {
  /** Empty: the first product that is listed. */
  product: string;
  /** Empty: what the tape has enough candles of (`usualInterval`). */
  interval: string;
  view: "market" | "status";
  /** `auto` follows the system. */
  theme: "auto" | "dark" | "light";
  /** `UTC`, `local` or an IANA name. */
  zone: string;
  /** Whether intervals without trades repeat the close before them. */
  fill: boolean;
}

/** What an address without parameters shows. */
export const defaultView: View = {
  product: "",
  interval: "",
  view: "market",
  theme: "auto",
  zone: "UTC",
  fill: false,
};

/** `?product=BTC-USD&interval=5m` → a view; what isn't allowed is as if it weren't there. */
export function readView(search: string): View {
  const parameters = new URLSearchParams(search);
  const product = parameters.get("product") ?? "";
  const theme = parameters.get("theme");
  const zone = parameters.get("tz") ?? "";
  return {
    product: /^[A-Z0-9-]{1,40}$/.test(product) ? product : defaultView.product,
    interval: readInterval(parameters.get("interval") ?? "")?.name ?? defaultView.interval,
    view: parameters.get("view") === "status" ? "status" : "market",
    theme: theme === "dark" || theme === "light" ? theme : "auto",
    zone: zone !== "" && knownZone(zone) ? zone : defaultView.zone,
    fill: parameters.get("fill") === "1",
  };
}

/** The reverse of readView: `""` for the default view. */
export function writeView(view: View): string {
  const parameters = new URLSearchParams();
  if (view.product !== defaultView.product) parameters.set("product", view.product);
  if (view.interval !== defaultView.interval) parameters.set("interval", view.interval);
  if (view.view !== defaultView.view) parameters.set("view", view.view);
  if (view.theme !== defaultView.theme) parameters.set("theme", view.theme);
  if (view.zone !== defaultView.zone) parameters.set("tz", view.zone);
  if (view.fill) parameters.set("fill", "1");
  const text = parameters.toString();
  return text === "" ? "" : `?${text}`;
}
