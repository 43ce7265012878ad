/**
 * Times of the exchange are ISO texts with microseconds; the chart counts in whole seconds since the epoch.
 *
 * @module
 */

/** An interval of candles: `text` as the API takes it, `seconds` its length. */
export interface Interval {
  text: string;
  seconds: number;
}

const unitSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
/** Monday 1970-01-05: weeks are counted from here, all else from the epoch. */
const firstMonday = 345_600;

/** `"90s"` → `{ text: "90s", seconds: 90 }`; null when it isn't a whole number and one of
 * s, m, h, d, w, or longer than a week: longer ones aren't streamed. */
export function parseInterval(text: string): Interval | null {
  const match = /^([1-9]\d{0,5})([smhdw])$/.exec(text.trim().toLowerCase());
  const unit = unitSeconds[match?.[2] ?? ""];
  if (match === null || unit === undefined) return null;
  const seconds = Number(match[1]) * unit;
  return seconds > 604_800 ? null : { text: match[0], seconds };
}

/** The start of the interval that holds `seconds`, counted as the view `candles` counts. */
export function bucket(seconds: number, interval: Interval): number {
  const anchor = interval.text.endsWith("w") ? firstMonday : 0;
  return Math.floor((seconds - anchor) / interval.seconds) * interval.seconds + anchor;
}

/** `2026-07-07T22:58:17.123456Z` → µs since the epoch; NaN when it isn't such a time. */
export function micros(iso: string | null | undefined): number {
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z?$/.exec(iso ?? "");
  if (match === null) return NaN;
  return Date.parse(`${match[1]}T${match[2]}Z`) * 1000 + Number((match[3] ?? "").padEnd(6, "0").slice(0, 6));
}

/** Whole seconds since the epoch of an ISO time; NaN when it isn't one. */
export function seconds(iso: string | null | undefined): number {
  return Math.floor(micros(iso) / 1_000_000);
}

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
  const value = micros(iso);
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
