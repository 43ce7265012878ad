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
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(iso);
  const seconds = match ? Date.parse(`${match[1]}Z`) : NaN;
  if (!match || Number.isNaN(seconds)) {
    throw new RangeError(`Not a UTC time such as 2026-07-07T22:58:17.123456Z: ${JSON.stringify(iso)}`);
  }
  return seconds * 1000 + Number((match[2] ?? "").padEnd(6, "0").slice(0, 6));
}
