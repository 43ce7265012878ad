/**
 * What `deno task doctor` looks at in the database.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { nowMicros } from "../core/time.ts";
import { type Gap, readGaps, readGivenUp } from "../gaps/trade_gaps.ts";
import { configured, readSoon } from "./doctor_tools.ts";
import {
  arrivingSeconds,
  judgeCompleteness,
  judgeDisk,
  judgeEvents,
  judgeFreshness,
  judgeGaps,
  judgeParts,
  judgeRejected,
} from "./doctor_judgements.ts";

/** A gap behind the newest trade carries the newest heartbeat's time: here it gets that of the first one to tell of it. */
async function readDatedGaps(clickhouse: ClickHouseClient): Promise<Gap[]> {
  const gaps = await readGaps(clickhouse);
  for (const gap of gaps) {
    if (nowMicros() - gap.seenAt > arrivingSeconds * 1e6) continue;
    const [row] = await readSoon<[number]>(
      clickhouse,
      `SELECT toUnixTimestamp64Micro(min(received_at)) FROM heartbeats
       WHERE product_id = {product:String} AND last_trade_id >= {id:UInt64} AND time > now('UTC') - INTERVAL 1 DAY`,
      { product: gap.productId, id: gap.first },
    );
    if (row !== undefined && row[0] > 0) gap.seenAt = Math.min(gap.seenAt, row[0]);
  }
  return gaps;
}

/** How old is the newest of each product? */
export async function lookAtFreshness(clickhouse: ClickHouseClient) {
  const { COINBASE_PRODUCTS: products } = configured(["COINBASE_PRODUCTS"]);
  // What a backfill brings is received now, and old all the same.
  const found = await readSoon<[string, number, number]>(
    clickhouse,
    `SELECT product_id,
       dateDiff('microsecond', max(received), now64(6, 'UTC')) / 1e6,
       if(max(traded) = toDateTime64(0, 6, 'UTC'), -1, dateDiff('microsecond', max(traded), now64(6, 'UTC')) / 1e6)
     FROM
     (
       SELECT product_id, newest.3 AS received, toDateTime64(0, 6, 'UTC') AS traded FROM heartbeat_ends_state
       UNION ALL
       SELECT product_id, last_received_at, last_time FROM trade_runs WHERE source != 'backfill'
     )
     WHERE product_id IN {products:Array(String)}
     GROUP BY product_id`,
    { products },
  );
  return judgeFreshness(
    products,
    found.map(([productId, received, traded]) => ({
      productId,
      received,
      traded: traded < 0 ? undefined : traded,
    })),
  );
}

/** Which trades are missing, and will they come? */
export async function lookAtGaps(clickhouse: ClickHouseClient) {
  const [gaps, givenUp] = await Promise.all([readDatedGaps(clickhouse), readGivenUp(clickhouse)]);
  return judgeGaps(gaps, givenUp, nowMicros(), configured(["BACKFILL_MAX_GAP"]).BACKFILL_MAX_GAP);
}

/** How much of the last day is stored? */
export async function lookAtCompleteness(clickhouse: ClickHouseClient) {
  const [row] = await readSoon<[number, number, number]>(
    clickhouse,
    // What the hour that runs lacks may be on its way; the check gaps tells of it.
    `SELECT sum(trades), sum(expected),
       countIf(status = 'incomplete' AND hour < toStartOfHour(now('UTC')))
     FROM completeness WHERE hour >= now('UTC') - INTERVAL 24 HOUR`,
  );
  const [trades = 0, expected = 0, incompleteHours = 0] = row ?? [];
  return judgeCompleteness({ trades, expected, incompleteHours });
}

/** What failed validation in the last day? */
export async function lookAtRejected(clickhouse: ClickHouseClient) {
  const found = await readSoon<[string, number, number]>(
    clickhouse,
    `SELECT reason, count() AS count, sum(count) OVER () FROM rejected
     WHERE received_at > now('UTC') - INTERVAL 24 HOUR GROUP BY reason ORDER BY count DESC, reason LIMIT 3`,
  );
  return judgeRejected(found.map(([reason, rows]) => ({ reason, rows })), found[0]?.[2] ?? 0);
}

/** What happened to the feed in the last hour? */
export async function lookAtEvents(clickhouse: ClickHouseClient) {
  // A producer that was asked to stop isn't in trouble.
  const found = await readSoon<[string, number]>(
    clickhouse,
    `SELECT event, count() AS count FROM feed_events
     WHERE time > now('UTC') - INTERVAL 1 HOUR
       AND event IN ('refused', 'not_acknowledged', 'error', 'silent', 'disconnected', 'buffer_full',
                     'frame_too_large', 'gap', 'gap_given_up')
       AND reason != 'the producer stops'
     GROUP BY event ORDER BY count DESC, event`,
  );
  return judgeEvents(found.map(([event, count]) => ({ event, count })));
}

/** Is there room? */
export async function lookAtDisk(clickhouse: ClickHouseClient) {
  const found = await readSoon<[string, number, number]>(
    clickhouse,
    "SELECT name, free_space, total_space FROM system.disks ORDER BY name",
  );
  return judgeDisk(found.map(([name, free, total]) => ({ name, free, total })));
}

/** Do merges keep up? */
export async function lookAtParts(clickhouse: ClickHouseClient) {
  const found = await readSoon<[string, number, number]>(
    clickhouse,
    `SELECT table, count() AS parts, sum(parts) OVER () FROM system.parts
     WHERE active AND database = currentDatabase()
     GROUP BY table, partition_id ORDER BY parts DESC LIMIT 1`,
  );
  const [table = "", most = 0, total = 0] = found[0] ?? [];
  return judgeParts(table, most, total);
}
