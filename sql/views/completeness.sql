-- Per product and hour: how many of the trades that the exchange made are stored. A gap counts in the hour in which
-- it begins and marks every hour that it touches; by the clocks it may end before it begins, for heartbeats and trades
-- are not told by one: then it touches its first hour. given_up: how many of the missing trades REST has proved not to
-- have. status is complete, incomplete (a gap touches the hour), or unconfirmed (no heartbeat or trade from after the
-- hour's end is known yet). An hour without trades is complete. Readers: the API, doctor, researchers.
CREATE OR REPLACE VIEW completeness AS
WITH
    -- Every hour from that of the first moment to that of the last, one at least.
    (first, last) -> arrayMap(
        step -> toStartOfHour(first) + step * 3600,
        range(toUInt32(greatest(0, dateDiff('hour', toStartOfHour(first), toStartOfHour(last))) + 1))
    ) AS hours_between,
    gaps AS
    (
        SELECT
            product_id,
            arrayJoin(hours_between(after_time, before_time)) AS hour,
            if(hour = toStartOfHour(after_time), missing, 0) AS missing_here,
            if(hour = toStartOfHour(after_time), given_up, 0) AS given_up_here
        FROM trade_gaps
    ),
    gaps_by_hour AS
    (
        SELECT product_id, hour, sum(missing_here) AS missing, sum(given_up_here) AS given_up, count() AS open_gaps
        FROM gaps
        GROUP BY product_id, hour
    ),
    fills_by_hour AS
    (
        SELECT
            product_id,
            toStartOfHour(traded_at) AS hour,
            count() AS filled_gaps,
            sum(fill.trades) AS filled_trades
        FROM trade_fills AS fill
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
            SELECT product_id, min(earliest).1, max(newest).1
            FROM heartbeat_ends_state
            GROUP BY product_id
        )
        GROUP BY product_id
    ),
    hours AS
    (
        SELECT
            product_id,
            arrayJoin(hours_between(first_known, last_known)) AS hour,
            last_known
        FROM known
    )
SELECT
    hours.product_id AS product_id,
    toDateTime64(hours.hour, 6, 'UTC') AS hour,
    candles.trades AS trades,
    candles.trades + gaps_by_hour.missing AS expected,
    if(expected = 0, 1, trades / expected) AS ratio,
    gaps_by_hour.open_gaps AS open_gaps,
    fills_by_hour.filled_gaps AS filled_gaps,
    fills_by_hour.filled_trades AS filled_trades,
    multiIf(
        open_gaps > 0, 'incomplete',
        hours.last_known < hours.hour + 3600, 'unconfirmed',
        'complete'
    ) AS status,
    gaps_by_hour.given_up AS given_up
FROM hours
LEFT JOIN gaps_by_hour ON gaps_by_hour.product_id = hours.product_id AND gaps_by_hour.hour = hours.hour
LEFT JOIN fills_by_hour ON fills_by_hour.product_id = hours.product_id AND fills_by_hour.hour = hours.hour
LEFT JOIN
(
    SELECT product_id, toDateTime(time, 'UTC') AS hour, trades
    FROM candles_1h
) AS candles ON candles.product_id = hours.product_id AND candles.hour = hours.hour;
