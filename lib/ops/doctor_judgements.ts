/**
 * What `deno task doctor` makes of what it finds: rules without servers.
 *
 * @module
 */

import { fillCommand } from "../gaps/fill_plan.ts";
import type { TopicChange } from "../kafka/topic_plan.ts";
import { listNames, type Plan } from "../clickhouse/migrations.ts";
import type { ComparedCandles, ComparedTrades, DayOfTrades } from "./stored_tables.ts";
import type { Gap } from "../gaps/trade_gaps.ts";
import { countIds, type Run, subtract } from "../core/id_ranges.ts";
import { age, type Finding, ok, trouble, warning } from "./doctor.ts";

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

/** What a consumer group has not stored of a topic. */
export interface Lag {
  topic: string;
  messages: number;
  /** Since the oldest of them was received; 0 when there is none. */
  oldestSeconds: number;
}

/** @param members undefined when the group doesn't exist */
export function judgeGroup(group: string, members: number | undefined, lags: readonly Lag[]): Finding {
  const found = lags.map(({ topic, messages, oldestSeconds }) =>
    `${topic} ${messages} behind${oldestSeconds >= 1 ? ` (the oldest ${age(oldestSeconds)} old)` : ""}`
  ).join(", ");
  if (members === undefined) {
    return trouble(`group ${group} doesn't exist: no consumer has run yet`, "deno task consumer");
  }
  if (members === 0) return trouble(`group ${group} has no member; ${found}`, "deno task consumer");
  const text = `group ${group}, ${members} ${members === 1 ? "member" : "members"}; ${found}`;
  const oldest = Math.max(0, ...lags.map(({ oldestSeconds }) => oldestSeconds));
  if (oldest < 10) return ok(text);
  const advice = "see the consumer's log: is ClickHouse slow, or the consumer too small?";
  return oldest < 60 ? warning(text, advice) : trouble(text, advice);
}

/** What is left of a topic's retention for the oldest message that isn't stored; both in seconds, Infinity without a limit. */
export interface RetentionLeft {
  topic: string;
  left: number;
  retention: number;
  /** The topic's size is limited as well; how long that lasts isn't known from one look. */
  isSizeLimited: boolean;
}

export function judgeRetention(topics: readonly RetentionLeft[]): Finding {
  const words = ({ topic, left, retention, isSizeLimited }: RetentionLeft) => {
    const size = isSizeLimited ? " (by time; its size is limited too)" : "";
    if (retention === Infinity) return `${topic} is kept for ever${size}`;
    if (left <= 0) return `${topic}: what isn't stored may be deleted at any moment`;
    return `${topic} ${age(left)} of ${age(retention)} left${size}`;
  };
  const found = topics.map(words).join(", ");
  const share = Math.min(
    1,
    ...topics.map(({ left, retention }) => retention === Infinity ? 1 : left / retention),
  );
  const advice =
    "messages that Kafka deletes before they are stored are lost: get the consumer going, or raise " +
    "KAFKA_RETENTION_HOURS and run deno task topics";
  if (share < 0.25) return trouble(found, advice);
  return share < 0.5 ? warning(found, advice) : ok(found);
}

/** A clock beside ours, in seconds: positive when it is ahead; how exactly that is known. */
export interface Clock {
  name: string;
  ahead: number;
  within: number;
}

export function judgeClocks(clocks: readonly Clock[]): Finding {
  const off = ({ ahead, within }: Clock) => Math.max(0, Math.abs(ahead) - within);
  const found = clocks.map(({ name, ahead, within }) => {
    const ms = Math.round(Math.abs(ahead) * 1000);
    return off({ name, ahead, within }) === 0
      ? `${name} agrees (within ${Math.max(1, Math.round(within * 1000))} ms)`
      : `${name} is ${ms < 10_000 ? `${ms} ms` : age(ms / 1000)} ${ahead > 0 ? "ahead" : "behind"}`;
  }).join(", ");
  const most = Math.max(0, ...clocks.map(off));
  const advice =
    "set this machine's clock and the other's by NTP: received_at, freshness and ages go by them";
  if (most > 30) return trouble(found, advice);
  return most > 1 ? warning(found, advice) : ok(found);
}

/** @param days the days that were compared, all products */
export function judgeDoubles(days: readonly DayOfTrades[]): Finding {
  const double = days.filter(({ rows, trades }) => rows !== trades);
  const rows = days.reduce((sum, day) => sum + day.rows, 0);
  const [first] = double;
  if (first === undefined) return ok(`none among the ${rows} trades of the last ${dayCount} days`);
  const more = double.reduce((sum, day) => sum + day.rows - day.trades, 0);
  return trouble(
    `${more} rows too many: ${first.productId} ${first.day} has ${first.rows} rows of ${first.trades} trades` +
      (double.length > 1 ? `, and ${double.length - 1} other product-days` : ""),
    "stop the consumer; docs/operations.md, Trades that are stored twice",
  );
}

/** How many days, today among them, are compared table by table. */
export const dayCount = 3;

export function judgeRuns({ days, differences }: ComparedTrades): Finding {
  const trades = days.reduce((sum, day) => sum + day.trades, 0);
  const parts = differences.flatMap(({ productId, withoutRun, withoutTrade }) => [
    ...(withoutRun.length === 0
      ? []
      : [`${productId}: ${countIds(withoutRun)} trades are in no run (${idsText(withoutRun)})`]),
    ...(withoutTrade.length === 0
      ? []
      : [`${productId}: ${countIds(withoutTrade)} trades of runs aren't stored (${idsText(withoutTrade)})`]),
  ]);
  if (parts.length === 0) {
    return ok(`the ${trades} trades of the last ${dayCount} days are in trade_runs, and no others`);
  }
  const shown = parts.slice(0, 3).join("; ") + (parts.length > 3 ? `; ${parts.length - 3} more` : "");
  return trouble(shown, "stop consumer and backfill; docs/operations.md, Trades and trade_runs differ");
}

export function judgeCandles({ days, candles, wrong }: ComparedCandles): Finding {
  const [first] = wrong;
  const [all, sum] = [days === 1 ? "of today" : `of the last ${days} days`, `${candles} candles`];
  if (first === undefined) return ok(`the ${sum} ${all} are what the trades make`);
  return trouble(
    `${wrong.length} of the ${sum} ${all} aren't what the trades make: ${first.productId} ${first.time} of candles_${first.interval}` +
      (wrong.length > 1 ? " …" : ""),
    "docs/operations.md, Candles that differ from their trades",
  );
}

function idsText(ids: readonly Run[]): string {
  const [run] = ids;
  return run === undefined ? "" : `${run.first} to ${run.last}${ids.length > 1 ? " …" : ""}`;
}

export function judgeMigrations(database: string, applied: number, { pending, problems }: Plan): Finding {
  if (problems[0] !== undefined) return trouble(problems.join(" "), "");
  if (pending.length === 0) return ok(`database ${database}: all ${applied} applied`);
  const names = listNames(pending);
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

/** A gap that was seen only so long ago (s) may be about to be filled. */
const fillableSeconds = 60;

/**
 * @param nowMicros the clock of `seenAt`
 * @param maxGap BACKFILL_MAX_GAP: larger ones are filled only when somebody asks
 */
export function judgeGaps(
  gaps: readonly Gap[],
  givenUp: ReadonlyMap<string, readonly Run[]>,
  nowMicros: number,
  maxGap: number,
): Finding {
  let known = 0;
  let missing = 0;
  let open = 0;
  let oldest = 0;
  let first = "";
  const tooLarge: Gap[] = [];
  for (const gap of gaps) {
    const seconds = (nowMicros - gap.seenAt) / 1e6;
    if (seconds < arrivingSeconds) continue;
    if (countIds([gap]) > maxGap) {
      tooLarge.push(gap);
      continue;
    }
    known += countIds([gap]);
    const unresolved = subtract([gap], givenUp.get(gap.productId) ?? []);
    if (unresolved.length === 0) continue;
    missing += countIds(unresolved);
    open++;
    oldest = Math.max(oldest, seconds);
    first ||= `${gap.productId} ${unresolved[0]?.first} to ${unresolved[0]?.last}`;
  }
  const lost = known - missing;
  const givenUpText = lost > 0 ? `${lost} trades are given up` : "";
  const [large] = tooLarge;
  const largest = large === undefined ? "" : [
    `${
      countIds(tooLarge)
    } trades are missing in ${tooLarge.length} gaps of more than ${maxGap}, which aren't filled unasked`,
    `${large.productId} ${large.first} to ${large.last}`,
  ].join(": ");
  if (open === 0) {
    if (large !== undefined) {
      return warning([largest, givenUpText].filter(Boolean).join("; "), fillCommand(large));
    }
    if (lost === 0) return ok("no trade is missing");
    return warning(
      givenUpText,
      "SELECT * FROM trade_gaps_given_up tells why; backfill --watch goes on asking for a month",
    );
  }
  const found = [
    `${open} ${open === 1 ? "gap" : "gaps"}, ${missing} trades missing for up to ${age(oldest)}: ${first}` +
    (open > 1 ? " …" : ""),
    largest,
    givenUpText,
  ].filter(Boolean).join("; ");
  return oldest < fillableSeconds
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
    `${found}; ${incompleteHours} product-hours have a gap`,
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
