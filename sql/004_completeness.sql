-- Which trade ids are stored, as runs without a hole: each insert of trades adds the runs of its own block, in the same
-- deduplicated insert. The consumer loads them to know what is stored already; rows of one batch share its name.
-- Readers: consumer.ts, the views trade_gaps and completeness.
CREATE TABLE IF NOT EXISTS trade_runs
(
    product_id LowCardinality(String),
    first_trade_id UInt64 CODEC(Delta, ZSTD),
    last_trade_id UInt64 CODEC(Delta, ZSTD),
    first_time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    last_time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    first_received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    last_received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    source LowCardinality(String),
    batch String CODEC(ZSTD)
)
ENGINE = MergeTree
ORDER BY (product_id, first_trade_id)
SETTINGS non_replicated_deduplication_window = 10000;

-- Ids minus their rank are equal within a run and differ between runs.
CREATE MATERIALIZED VIEW IF NOT EXISTS trade_runs_mv TO trade_runs AS
SELECT
    product_id,
    min(trade_id) AS first_trade_id,
    max(trade_id) AS last_trade_id,
    argMin(ranked.time, trade_id) AS first_time,
    argMax(ranked.time, trade_id) AS last_time,
    min(received_at) AS first_received_at,
    max(received_at) AS last_received_at,
    source,
    any(ranked.batch) AS batch
FROM
(
    SELECT
        product_id,
        trade_id,
        time,
        received_at,
        source,
        batch,
        trade_id - row_number() OVER (PARTITION BY product_id, source ORDER BY trade_id) AS run
    FROM trades
) AS ranked
GROUP BY product_id, source, run;

-- How far the exchange's own numbering has come, from heartbeats. The newest closes the tail behind the newest stored
-- trade; the first says where the tape begins, for trades may be missing before the first that is stored.
CREATE TABLE IF NOT EXISTS heartbeats_range_state
(
    product_id LowCardinality(String),
    first_time SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    first_last_trade_id SimpleAggregateFunction(min, UInt64),
    first_received_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    time SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_trade_id SimpleAggregateFunction(max, UInt64),
    received_at SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY product_id
SETTINGS non_replicated_deduplication_window = 10000;

-- One row per product and block.
CREATE MATERIALIZED VIEW IF NOT EXISTS heartbeats_range_mv TO heartbeats_range_state AS
SELECT
    product_id,
    min(heartbeats.time) AS first_time,
    min(heartbeats.last_trade_id) AS first_last_trade_id,
    min(heartbeats.received_at) AS first_received_at,
    max(heartbeats.time) AS time,
    max(heartbeats.last_trade_id) AS last_trade_id,
    max(heartbeats.received_at) AS received_at
FROM heartbeats
GROUP BY product_id;

-- What the exchange can't or won't serve any more: backfill.ts asked for these ids and got none of them. They stay
-- missing in trade_gaps and completeness, and aren't asked for again. Ids, both ends included.
CREATE TABLE IF NOT EXISTS trade_gaps_given_up
(
    product_id LowCardinality(String),
    first_missing UInt64,
    last_missing UInt64,
    reason String,
    asked_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (product_id, first_missing);

-- The holes between the first and the newest trade id that are known to exist: ids first_missing to last_missing. What is
-- known begins with the first stored trade or the first heartbeat, whichever is lower, and ends with the newest of both.
-- after_time and before_time are the times of the stored trades on both sides (before_time is the
-- newest heartbeat's where no later trade is stored). seen_at is when the trade behind the hole came; where there is
-- none yet, when the trade before it came: the hole is not older than that.
-- Readers: backfill.ts, the API, Grafana.
CREATE VIEW IF NOT EXISTS trade_gaps AS
SELECT
    product_id,
    hole.1 AS first_missing,
    hole.2 AS last_missing,
    last_missing - first_missing + 1 AS missing,
    hole.3 AS after_time,
    hole.4 AS before_time,
    hole.5 AS seen_at
FROM
(
    SELECT
        product_id,
        first_trade_id,
        first_time,
        max(last_trade_id) OVER before AS stored_until,
        argMax(last_time, last_trade_id) OVER before AS stored_until_time,
        if(is_tail, argMax(last_received_at, last_trade_id) OVER before, first_received_at) AS seen_at,
        row_number() OVER (PARTITION BY product_id ORDER BY first_trade_id, last_trade_id) AS place,
        (stored_until + 1, first_trade_id - 1, stored_until_time, first_time, seen_at) AS hole
    FROM
    (
        SELECT
            product_id,
            first_trade_id,
            last_trade_id,
            first_time,
            last_time,
            first_received_at,
            last_received_at,
            false AS is_tail
        FROM trade_runs
        UNION ALL
        -- The beginning: an empty run behind the trade that the first heartbeat speaks of.
        SELECT
            product_id,
            min(heartbeat.first_last_trade_id) + 1 AS first_trade_id,
            min(heartbeat.first_last_trade_id) AS last_trade_id,
            min(heartbeat.first_time) AS first_time,
            first_time AS last_time,
            min(heartbeat.first_received_at) AS first_received_at,
            first_received_at AS last_received_at,
            false AS is_tail
        FROM heartbeats_range_state AS heartbeat
        GROUP BY product_id
        UNION ALL
        -- The tail: the same behind the newest.
        SELECT
            product_id,
            max(heartbeat.last_trade_id) + 1 AS first_trade_id,
            max(heartbeat.last_trade_id) AS last_trade_id,
            max(heartbeat.time) AS first_time,
            first_time AS last_time,
            max(heartbeat.received_at) AS first_received_at,
            first_received_at AS last_received_at,
            true AS is_tail
        FROM heartbeats_range_state AS heartbeat
        GROUP BY product_id
    )
    WINDOW before AS
    (
        PARTITION BY product_id
        ORDER BY first_trade_id, last_trade_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
WHERE place > 1 AND first_trade_id > stored_until + 1;

-- The holes that were filled from REST: which ids, when they were traded, and how long after that they were here.
CREATE VIEW IF NOT EXISTS trade_fills AS
SELECT
    product_id,
    first_trade_id,
    last_trade_id,
    last_trade_id - first_trade_id + 1 AS trades,
    source,
    first_time AS traded_at,
    last_received_at AS filled_at,
    dateDiff('microsecond', first_time, last_received_at) / 1e6 AS seconds_to_fill
FROM trade_runs
WHERE source = 'backfill';

-- Per product and hour: how many of the trades that the exchange made are stored. A hole counts in the hour in which
-- it begins and marks every hour that it touches. status is complete, incomplete (a hole touches the hour), or
-- unconfirmed (no heartbeat or trade from after the hour's end is known yet). An hour without trades is complete.
CREATE VIEW IF NOT EXISTS completeness AS
WITH
    holes AS
    (
        SELECT
            product_id,
            arrayJoin(arrayMap(
                step -> toStartOfHour(after_time) + step * 3600,
                range(toUInt32(dateDiff('hour', toStartOfHour(after_time), toStartOfHour(before_time)) + 1))
            )) AS hour,
            if(hour = toStartOfHour(after_time), missing, 0) AS missing_here
        FROM trade_gaps
    ),
    holes_by_hour AS
    (
        SELECT product_id, hour, sum(missing_here) AS missing, count() AS open_holes
        FROM holes
        GROUP BY product_id, hour
    ),
    fills_by_hour AS
    (
        SELECT
            product_id,
            toStartOfHour(first_time) AS hour,
            count() AS filled_holes,
            sum(last_trade_id - first_trade_id + 1) AS filled_trades
        FROM trade_runs
        WHERE source = 'backfill'
        GROUP BY product_id, hour
    ),
    known AS
    (
        SELECT product_id, min(first_known) AS first_known, max(last_known) AS last_known
        FROM
        (
            SELECT product_id, min(first_time) AS first_known, max(last_time) AS last_known
            FROM trade_runs
            GROUP BY product_id
            UNION ALL
            SELECT product_id, min(first_time), max(time)
            FROM heartbeats_range_state
            GROUP BY product_id
        )
        GROUP BY product_id
    ),
    hours AS
    (
        SELECT
            product_id,
            arrayJoin(arrayMap(
                step -> toStartOfHour(first_known) + step * 3600,
                range(toUInt32(dateDiff('hour', toStartOfHour(first_known), toStartOfHour(last_known)) + 1))
            )) AS hour,
            last_known
        FROM known
    )
SELECT
    hours.product_id AS product_id,
    toDateTime64(hours.hour, 6, 'UTC') AS hour,
    candles.trades AS trades,
    candles.trades + holes_by_hour.missing AS expected,
    if(expected = 0, 1, trades / expected) AS ratio,
    holes_by_hour.open_holes AS open_holes,
    fills_by_hour.filled_holes AS filled_holes,
    fills_by_hour.filled_trades AS filled_trades,
    multiIf(
        open_holes > 0, 'incomplete',
        hours.last_known < hours.hour + 3600, 'unconfirmed',
        'complete'
    ) AS status
FROM hours
LEFT JOIN holes_by_hour ON holes_by_hour.product_id = hours.product_id AND holes_by_hour.hour = hours.hour
LEFT JOIN fills_by_hour ON fills_by_hour.product_id = hours.product_id AND fills_by_hour.hour = hours.hour
LEFT JOIN
(
    SELECT product_id, toDateTime(time, 'UTC') AS hour, trades
    FROM candles_1h
) AS candles ON candles.product_id = hours.product_id AND candles.hour = hours.hour;
