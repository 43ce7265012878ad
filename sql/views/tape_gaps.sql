-- The gaps of a product's tape that were open in the range, filled ones too: ids first_id to last_id, whatever is filled of
-- them by now. time is that of the trade before the gap. seen_at is when the gap could first be seen: a later trade came, or a
-- heartbeat told of it. until is when its last trade came from REST, NULL while some are missing. History that was
-- fetched from before the tape's beginning is no gap. Reader: anomalies_live.
CREATE OR REPLACE VIEW tape_gaps AS
WITH
    -- A scalar is worked out once, where a named subquery would be planned and run once for each mention.
    (
        SELECT groupArray((first_id, last_id, missing, known_time, filled_at))
        FROM
        (
            SELECT
                min(first) AS first_id,
                max(last) AS last_id,
                sum(if(is_open, last - first + 1, 0)) AS missing,
                argMin(after_time, first) AS known_time,
                max(came) AS filled_at
            FROM
            (
                SELECT *, sum(starts) OVER (ORDER BY first, last) AS gap
                FROM
                (
                    SELECT
                        *,
                        first > 1 + max(last) OVER (ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS starts
                    FROM
                    (
                        SELECT
                            toUInt64(first_missing) AS first,
                            toUInt64(last_missing) AS last,
                            true AS is_open,
                            after_time,
                            toDateTime64(0, 6, 'UTC') AS came
                        FROM trade_gaps
                        WHERE product_id = {product:String}
                        UNION ALL
                        SELECT first_trade_id, last_trade_id, false, toDateTime64(0, 6, 'UTC'), last_received_at
                        FROM trade_runs
                        WHERE product_id = {product:String} AND source = 'backfill'
                    )
                )
            )
            GROUP BY gap
            HAVING missing > 0 OR filled_at >= {from:DateTime64(6, 'UTC')}
        )
    ) AS gaps,
    (
        SELECT mapFromArrays(groupArray(trade_id), groupArray((time, received_at)))
        FROM trades
        WHERE product_id = {product:String}
            AND trade_id IN (SELECT arrayJoin(arrayFlatten(arrayMap(gap -> [toUInt64(gap.1 - 1), gap.2 + 1], gaps))))
    ) AS neighbours,
    -- Behind the trade that the earliest heartbeat told of, the tape begins.
    (
        SELECT (min(ends.earliest).2, min(ends.earliest).1)
        FROM heartbeat_ends_state AS ends
        WHERE product_id = {product:String} AND is_numbered
    ) AS beginning,
    arrayFilter(
        gap -> toUnixTimestamp(gap.5) > 0 AND gap.5 < {to:DateTime64(6, 'UTC')},
        arrayMap(
            gap -> (
                gap.1,
                gap.2,
                gap.3,
                gap.5,
                multiIf(
                    mapContains(neighbours, toUInt64(gap.1 - 1)), neighbours[toUInt64(gap.1 - 1)].1,
                    gap.1 = beginning.1 + 1, beginning.2,
                    gap.4
                ),
                mapContains(neighbours, gap.2 + 1),
                neighbours[gap.2 + 1].2
            ),
            gaps
        )
    ) AS placed,
    -- Behind the next trade no heartbeat is the first to tell of a gap (a minute for clocks that differ); without a gap
    -- none is read.
    if(empty(placed), {to:DateTime64(6, 'UTC')}, arrayMin(arrayMap(gap -> gap.5, placed))) AS heard_since,
    arrayMax(arrayMap(
        gap -> if(gap.6, least(gap.7 + toIntervalMinute(1), {to:DateTime64(6, 'UTC')}), {to:DateTime64(6, 'UTC')}),
        placed
    )) AS heard_until
SELECT
    {product:String} AS product_id,
    gap.time AS time,
    gap.first_id AS first_id,
    gap.last_id AS last_id,
    gap.missing AS missing,
    if(gap.missing > 0, NULL, gap.filled_at) AS until,
    least(
        if(gap.has_next, gap.next_received_at, {to:DateTime64(6, 'UTC')}),
        if(heard.last_trade_id > 0, heard.received, {to:DateTime64(6, 'UTC')})
    ) AS seen_at,
    dateDiff('microsecond', seen_at, ifNull(until, {to:DateTime64(6, 'UTC')})) / 1e6 AS seconds
FROM
(
    SELECT 1 AS one, arrayJoin(placed) AS gap, gap.1 AS first_id, gap.2 AS last_id, gap.3 AS missing,
        gap.4 AS filled_at, gap.5 AS time, gap.6 AS has_next, gap.7 AS next_received_at
) AS gap
ASOF LEFT JOIN
(
    SELECT 1 AS one, last_trade_id, min(received_at) AS received
    FROM heartbeats
    WHERE product_id = {product:String} AND time >= heard_since AND time < heard_until
    GROUP BY last_trade_id
) AS heard ON heard.one = gap.one AND gap.first_id <= heard.last_trade_id;
