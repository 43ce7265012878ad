-- Two views of 004 anew, as they were but for what is said here.

-- Of two empty runs at one place (one heartbeat is the first and the newest) the beginning counts, always.
CREATE OR REPLACE VIEW trade_gaps AS
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
        row_number() OVER (PARTITION BY product_id ORDER BY first_trade_id, last_trade_id, is_tail) AS place,
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
        ORDER BY first_trade_id, last_trade_id, is_tail
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
WHERE place > 1 AND first_trade_id > stored_until + 1;

-- A hole may end before it begins, by the clocks: heartbeats and trades are not told by one. It touches its first hour.
CREATE OR REPLACE VIEW completeness AS
WITH
    holes AS
    (
        SELECT
            product_id,
            arrayJoin(arrayMap(
                step -> toStartOfHour(after_time) + step * 3600,
                range(toUInt32(greatest(0, dateDiff('hour', toStartOfHour(after_time), toStartOfHour(before_time))) + 1))
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
                range(toUInt32(greatest(0, dateDiff('hour', toStartOfHour(first_known), toStartOfHour(last_known))) + 1))
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
