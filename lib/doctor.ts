/**
 * What `deno task doctor` makes of what it finds: rules without servers. lib/doctor_checks.ts looks.
 *
 * @module
 */

import { countIds, subtract } from "./backfill.ts";
import type { TopicChange } from "./broker.ts";
import type { Plan } from "./migrations.ts";
import type { Hole } from "./trade_gaps.ts";
import type { Run } from "./trade_runs.ts";

/** `trouble` makes the exit code 1. */
export type Status = "ok" | "warning" | "trouble";

/** The result of a check. */
export interface Finding {
  status: Status;
  /** What is there, for a person. */
  found: string;
  /** What to do about it; empty when there is nothing to do. */
  advice: string;
}

/** A check by its name. */
export interface Check {
  name: string;
  /** A check that must not be in trouble: without it this one can't look. */
  needs?: string;
  /** @throws anything: trouble, with the error's message; `NotChecked` when another check tells why */
  look(): Promise<Finding>;
}

/** One line of the answer. */
export interface Checked extends Finding {
  name: string;
}

/** This couldn't be looked at; the reason is another check's trouble. */
export class NotChecked extends Error {
  override name = "NotChecked";
}

export const ok = (found: string): Finding => ({ status: "ok", found, advice: "" });
export const warning = (found: string, advice: string): Finding => ({ status: "warning", found, advice });
export const trouble = (found: string, advice: string): Finding => ({ status: "trouble", found, advice });

/** Runs all checks side by side. None can stop another, and none takes longer than `limitMs` once it may begin. */
export function runChecks(checks: readonly Check[], limitMs = 5000): Promise<Checked[]> {
  const results = new Map<string, Promise<Checked>>();
  for (const check of checks) results.set(check.name, run(check));
  return Promise.all(results.values());

  async function run({ name, needs, look }: Check): Promise<Checked> {
    const needed = needs === undefined ? undefined : await results.get(needs);
    if (needed?.status === "trouble") return { name, ...warning(`not checked, see ${needed.name}`, "") };
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<Finding>((resolve) => {
      timer = setTimeout(() => resolve(trouble(`no answer within ${limitMs / 1000} s`, "")), limitMs);
    });
    try {
      return { name, ...await Promise.race([look(), timeout]) };
    } catch (error) {
      const message = (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
      if (error instanceof NotChecked) return { name, ...warning(`not checked, ${message}`, "") };
      return { name, ...trouble(message, "") };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** One line a check: `✗ topics       coinbase_level2 is missing → deno task topics`. */
export function render(checked: readonly Checked[]): string {
  const width = Math.max(...checked.map(({ name }) => name.length));
  const signs = { ok: "✓", warning: "!", trouble: "✗" };
  return checked.map(({ name, status, found, advice }) =>
    `${signs[status]} ${name.padEnd(width)}  ${found}${advice === "" ? "" : ` → ${advice}`}\n`
  ).join("");
}

/** `90.5` seconds → `1 m`, a rough measure for a person. */
export function age(seconds: number): string {
  if (seconds < 1) return "under 1 s";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} m`;
  if (seconds < 360_000) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** @param changes what `deno task topics` would do */
export function judgeTopics(topics: readonly string[], changes: readonly TopicChange[]): Finding {
  if (changes.length === 0) return ok(`${topics.join(" and ")} are set as they should be`);
  const missing = changes.filter(({ change }) => change.startsWith("created"));
  if (missing.length > 0) {
    const names = missing.map(({ topic }) => topic).join(" and ");
    return trouble(`${names} ${missing.length === 1 ? "is" : "are"} missing`, "deno task topics");
  }
  const found = changes.map(({ topic, change }) => `${topic}: ${change}`).join("; ");
  return warning(`set otherwise than wanted: ${found}`, "deno task topics");
}

/** What a consumer group has not read of a topic. */
export interface Lag {
  topic: string;
  messages: number;
  /** The oldest of them was received at least so long ago, in seconds. */
  atLeastSeconds: number;
}

/** @param members undefined when the group doesn't exist */
export function judgeGroup(group: string, members: number | undefined, lags: readonly Lag[]): Finding {
  const found = lags.map(({ topic, messages, atLeastSeconds }) =>
    `${topic} ${messages} behind${atLeastSeconds > 0 ? ` (over ${age(atLeastSeconds)} old)` : ""}`
  ).join(", ");
  if (members === undefined) {
    return trouble(`group ${group} doesn't exist: no consumer has run yet`, "deno task consumer");
  }
  if (members === 0) return trouble(`group ${group} has no member; ${found}`, "deno task consumer");
  const text = `group ${group}, ${members} ${members === 1 ? "member" : "members"}; ${found}`;
  const oldest = Math.max(0, ...lags.map(({ atLeastSeconds }) => atLeastSeconds));
  if (oldest < 10) return ok(text);
  const advice = "see the consumer's log: is ClickHouse slow, or the consumer too small?";
  return oldest < 60 ? warning(text, advice) : trouble(text, advice);
}

export function judgeMigrations(database: string, applied: number, { pending, problems }: Plan): Finding {
  if (problems[0] !== undefined) return trouble(problems.join(" "), "");
  if (pending.length === 0) return ok(`database ${database}: all ${applied} applied`);
  const names = pending.map(({ name }) => name).join(", ");
  return trouble(
    applied === 0 ? `database ${database} has none` : `database ${database} lacks ${names}`,
    "deno task migrate",
  );
}

/** What is newest of a product; ages in seconds. */
export interface Newest {
  productId: string;
  /** Since anything was received. */
  received: number;
  /** Since the newest trade was made; undefined when there is none. */
  traded: number | undefined;
}

export function judgeFreshness(products: readonly string[], newest: readonly Newest[]): Finding {
  const parts = products.map((product) => {
    const known = newest.find(({ productId }) => productId === product);
    if (known === undefined) return { seconds: Infinity, text: `${product} has no data` };
    const traded = known.traded === undefined ? "no trade" : `newest trade ${age(known.traded)}`;
    return { seconds: known.received, text: `${product} received ${age(known.received)} ago, ${traded} old` };
  });
  const oldestFirst = parts.sort((left, right) => right.seconds - left.seconds);
  const oldest = oldestFirst[0]?.seconds ?? 0;
  const shown = oldestFirst.slice(0, 3).map(({ text }) => text).join("; ");
  const found = parts.length > 3 ? `${shown}; ${parts.length - 3} more are newer` : shown;
  if (oldest < 15) return ok(found);
  const advice = "see the producer's log, and the check consumer";
  return oldest < 60 ? warning(found, advice) : trouble(found, advice);
}

/** A trade that a heartbeat speaks of, and that isn't here after so many seconds, isn't just on its way. */
export const arrivingSeconds = 10;
/** A hole that was seen only so long ago (s) may be about to be filled. */
const youngSeconds = 60;

/** @param nowMicros the clock of `seenAt` */
export function judgeHoles(
  holes: readonly Hole[],
  givenUp: ReadonlyMap<string, readonly Run[]>,
  nowMicros: number,
): Finding {
  let known = 0;
  let missing = 0;
  let open = 0;
  let oldest = 0;
  let first = "";
  for (const hole of holes) {
    const seconds = (nowMicros - hole.seenAt) / 1e6;
    if (seconds < arrivingSeconds) continue;
    known += countIds([hole]);
    const asked = subtract([hole], givenUp.get(hole.productId) ?? []);
    if (asked.length === 0) continue;
    missing += countIds(asked);
    open++;
    oldest = Math.max(oldest, seconds);
    first ||= `${hole.productId} ${asked[0]?.first} to ${asked[0]?.last}`;
  }
  const lost = known - missing;
  const gone = lost > 0 ? `${lost} trades are given up` : "";
  if (open === 0) {
    if (lost === 0) return ok("no trade is missing");
    return warning(gone, "SELECT * FROM trade_gaps_given_up tells why");
  }
  const found = [
    `${open} ${open === 1 ? "hole" : "holes"}, ${missing} trades missing for up to ${age(oldest)}: ${first}` +
    (open > 1 ? " …" : ""),
    gone,
  ].filter(Boolean).join("; ");
  return oldest < youngSeconds
    ? warning(found, "backfill.ts fills them if it runs")
    : trouble(found, "deno task backfill");
}

/** Of the last 24 hours. */
export interface Completeness {
  trades: number;
  expected: number;
  incompleteHours: number;
}

export function judgeCompleteness({ trades, expected, incompleteHours }: Completeness): Finding {
  if (expected === 0) return ok("no trades in the last 24 h");
  // Rounded down: 100 % is for what is complete.
  const percent = Math.floor(trades / expected * 1e6) / 1e4;
  const found = `${percent} % of the ${expected} trades of the last 24 h`;
  if (incompleteHours === 0) return ok(found);
  return warning(
    `${found}; ${incompleteHours} product-hours have a hole`,
    "SELECT * FROM completeness WHERE status = 'incomplete'",
  );
}

/** What was rejected, the commonest reason first. */
export function judgeRejected(reasons: readonly { reason: string; rows: number }[], total: number): Finding {
  if (total === 0) return ok("none in the last 24 h");
  const shown = reasons.map(({ reason, rows }) => `${rows} × ${reason}`).join("; ");
  return warning(
    `${total} in the last 24 h: ${shown}`,
    "SELECT reason, raw FROM rejected tells what came; did the exchange change its messages?",
  );
}

export function judgeEvents(events: readonly { event: string; count: number }[]): Finding {
  if (events.length === 0) return ok("nothing in the last hour");
  const shown = events.map(({ event, count }) => `${count} × ${event}`).join(", ");
  return warning(`in the last hour: ${shown}`, "SELECT * FROM feed_events ORDER BY time DESC tells more");
}

/** Bytes. */
export function judgeDisk(disks: readonly { name: string; free: number; total: number }[]): Finding {
  const found = disks.map(({ name, free, total }) =>
    `${name} ${(free / 1e9).toFixed(1)} of ${(total / 1e9).toFixed(1)} GB free`
  ).join(", ");
  const share = Math.min(1, ...disks.map(({ free, total }) => total === 0 ? 1 : free / total));
  const advice = "make room: ClickHouse refuses inserts when the disk is full";
  if (share < 0.05) return trouble(found, advice);
  return share < 0.15 ? warning(found, advice) : ok(found);
}

/** @param most active parts of one partition; ClickHouse slows inserts down at 1000 and refuses them at 3000 */
export function judgeParts(table: string, most: number, total: number): Finding {
  const found = `${total} in all, ${most} in the fullest partition${table === "" ? "" : ` (${table})`}`;
  const advice = "merges don't keep up: set CONSUMER_FLUSH_MS higher, or give ClickHouse more CPU";
  if (most >= 1000) return trouble(found, advice);
  return most >= 300 ? warning(found, advice) : ok(found);
}
