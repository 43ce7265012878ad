/**
 * Times as they are shown, in the zone that was chosen.
 *
 * @module
 */

import { microsOf } from "../../lib/core/time.ts";

const formats = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  const known = formats.get(key);
  if (known !== undefined) return known;
  const made = new Intl.DateTimeFormat("en-GB", {
    ...options,
    hourCycle: "h23",
    ...(zone === "local" ? {} : { timeZone: zone }),
  });
  formats.set(key, made);
  return made;
}

/** Whether a time zone can be shown: `UTC`, `local` or a name such as `Europe/Berlin`. */
export function knownZone(zone: string): boolean {
  if (zone === "local") return true;
  try {
    new Intl.DateTimeFormat("en-GB", { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

/** `22:58:17`, in a zone. */
export function clock(millis: number, zone: string): string {
  return formatter(zone, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(millis);
}

/** `22:58`, in a zone. */
export function minute(millis: number, zone: string): string {
  return formatter(zone, { hour: "2-digit", minute: "2-digit" }).format(millis);
}

/** `7 Jul`, in a zone. */
export function day(millis: number, zone: string): string {
  return formatter(zone, { day: "numeric", month: "short" }).format(millis);
}

/** `Jul 2026`, in a zone. */
export function month(millis: number, zone: string): string {
  return formatter(zone, { month: "short", year: "numeric" }).format(millis);
}

/** `2026-07-07 22:58:17`, in a zone. */
export function dateTime(millis: number, zone: string): string {
  if (!Number.isFinite(millis)) return "–";
  const parts = formatter(zone, { year: "numeric", month: "2-digit", day: "2-digit" }).formatToParts(millis);
  const part = (type: string) => parts.find((each) => each.type === type)?.value ?? "";
  return `${part("year")}-${part("month")}-${part("day")} ${clock(millis, zone)}`;
}

/** `22:58:17.123` from an ISO time, in a zone: the milliseconds are those of the text. */
export function preciseClock(iso: string, zone: string): string {
  const value = microsOf(iso);
  if (Number.isNaN(value)) return "–";
  const fraction = String(Math.floor(value / 1000) % 1000).padStart(3, "0");
  return `${clock(Math.floor(value / 1000), zone)}.${fraction}`;
}

/** How long something takes, in few characters: `0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function span(millis: number): string {
  if (!Number.isFinite(millis)) return "–";
  const value = Math.max(0, millis);
  if (value < 950) return `${Math.round(value)} ms`;
  if (value < 9_950) return `${(value / 1000).toFixed(1)} s`;
  if (value < 90_000) return `${Math.round(value / 1000)} s`;
  if (value < 5_400_000) return `${Math.round(value / 60_000)} min`;
  if (value < 172_800_000) return `${Math.round(value / 3_600_000)} h`;
  return `${Math.round(value / 86_400_000)} d`;
}
