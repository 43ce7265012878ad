/**
 * Times are microseconds since the epoch (UTC) as safe integers: 2^53 µs reach to the year 2255. JavaScript's
 * Date keeps only milliseconds, so no time of the exchange ever passes through it.
 *
 * @module
 */

let anchor = Date.now() - performance.now();

/**
 * The wall clock in µs. The fine digits come from the monotonic clock, which doesn't follow corrections of the
 * wall clock: when the two part by more than 2 ms the anchor is set anew.
 */
export function nowMicros(): number {
  const wall = Date.now();
  const monotonic = performance.now();
  if (Math.abs(wall - anchor - monotonic) > 2) anchor = wall - monotonic;
  return Math.round((anchor + monotonic) * 1000);
}

/** `1783465097123456` → `2026-07-07 22:58:17.123456`, the form that ClickHouse parses fastest. */
export function formatMicros(micros: number): string {
  const millis = Math.floor(micros / 1000);
  const rest = String(micros - millis * 1000).padStart(3, "0");
  const iso = new Date(millis).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 23)}${rest}`;
}

/** `1783465097123456` → `2026-07-07T22:58:17.123456Z`, the form that Coinbase sends. */
export function isoMicros(micros: number): string {
  const text = formatMicros(micros);
  return `${text.slice(0, 10)}T${text.slice(11)}Z`;
}

/**
 * `2026-07-07T22:58:17.123456Z` → `1783465097123456`. Digits beyond the sixth are cut off, missing ones are 0.
 *
 * @throws {RangeError} when the text isn't an ISO 8601 time in UTC
 */
export function parseMicros(iso: string): number {
  const micros = microsOf(iso);
  if (Number.isNaN(micros)) {
    throw new RangeError(`Not a UTC time such as 2026-07-07T22:58:17.123456Z: ${JSON.stringify(iso)}`);
  }
  return micros;
}

/** The same, but NaN when there is no text or it isn't such a time. */
export function microsOf(iso: string | null | undefined): number {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(iso ?? "");
  if (match === null) return NaN;
  return Date.parse(`${match[1]}Z`) * 1000 + Number((match[2] ?? "").padEnd(6, "0").slice(0, 6));
}

/**
 * `2026-07-07`, `2026-07-07T22:58`, `2026-07-07T22:58:17.5Z`, `…+02:00` → µs since the epoch; without a zone it is UTC.
 * Undefined when the text is none of these.
 */
export function parseTime(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
  if (match === null) return undefined;
  const [, date = "", time = "00:00", zone = "Z"] = match;
  // Date takes the 31st of February for the 3rd of March.
  const day = new Date(`${date}T00:00Z`);
  if (Number.isNaN(day.valueOf()) || !day.toISOString().startsWith(date)) return undefined;
  const millis = Date.parse(`${date}T${time}${zone}`);
  return Number.isNaN(millis) ? undefined : millis * 1000;
}

/** `30s`, `5m`, `2h`, `500ms` or a bare number of seconds → milliseconds. Undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  if (match === null) return undefined;
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as "ms" | "s" | "m" | "h"] ?? 1000;
  return Number(match[1]) * unit;
}

/** A day such as 2026-07-07 → its midnight in ms, UTC; undefined when the calendar has no such day. */
export function parseDay(text: string): number | undefined {
  const midnight = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : NaN;
  // Date.parse takes 2026-02-30 for the second of March.
  const isReal = !Number.isNaN(midnight) && new Date(midnight).toISOString().slice(0, 10) === text;
  return isReal ? midnight : undefined;
}
