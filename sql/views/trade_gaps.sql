-- The gaps between the first and the newest trade id that are known to exist: ids first_missing to last_missing. What is
-- known begins with the first stored trade or the earliest heartbeat, whichever is lower, and ends with the newest of
-- both. after_time and before_time are the times of the stored trades on both sides (before_time is the newest
-- heartbeat's where no later trade is stored). seen_at is when the trade behind the gap came; where there is none yet,
-- when the trade before it came: the gap is not older than that. given_up says how many of the missing ids REST has been
-- asked for four times and proved not to have; they are still asked for, ever more rarely, and leave when they are found.
-- Readers: backfill.ts, the API, completeness, tape_gaps.
CREATE OR REPLACE VIEW trade_gaps AS
SELECT
    gap.product_id AS product_id,
    gap.first_missing AS first_missing,
    gap.last_missing AS last_missing,
    gap.last_missing - gap.first_missing + 1 AS missing,
    gap.after_time AS after_time,
    gap.before_time AS before_time,
    gap.seen_at AS seen_at,
    toUInt64(arraySum(
        range -> greatest(
            0,
            toInt64(least(range.2, gap.last_missing)) - toInt64(greatest(range.1, gap.first_missing)) + 1
        ),
        gone.ranges
    )) AS given_up
FROM
(
    SELECT
        product_id,
        stored_until + 1 AS first_missing,
        first_trade_id - 1 AS last_missing,
        stored_until_time AS after_time,
        first_time AS before_time,
        seen_at
    FROM
    (
        SELECT
            product_id,
            first_trade_id,
            first_time,
            is_tail,
            countIf(NOT is_tail) OVER before AS runs_before,
            maxIf(last_trade_id, NOT is_tail) OVER before AS stored_until,
            maxIf(last_trade_id, NOT is_tail) OVER (PARTITION BY product_id) AS newest,
            argMaxIf(last_time, last_trade_id, NOT is_tail) OVER before AS stored_until_time,
            if(is_tail, argMaxIf(last_received_at, last_trade_id, NOT is_tail) OVER before, first_received_at) AS seen_at
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
            -- The beginning: an empty run behind the trade that the earliest heartbeat speaks of. The tail: the same behind
            -- the newest.
            SELECT
                product_id,
                heard.2 + 1 AS first_trade_id,
                heard.2 AS last_trade_id,
                heard.1 AS first_time,
                heard.1 AS last_time,
                heard.3 AS first_received_at,
                heard.3 AS last_received_at,
                is_tail
            FROM
            (
                SELECT product_id, [min(ends.earliest), max(ends.newest)] AS both_ends
                FROM heartbeat_ends_state AS ends
                WHERE is_numbered
                GROUP BY product_id
            )
            ARRAY JOIN both_ends AS heard, [false, true] AS is_tail
        )
        WINDOW before AS
        (
            PARTITION BY product_id
            ORDER BY first_trade_id, last_trade_id, is_tail
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    )
    -- A heartbeat below what is stored speaks of no tail: the ids have begun again, or it comes late.
    WHERE runs_before > 0 AND first_trade_id > stored_until + 1 AND (NOT is_tail OR stored_until = newest)
) AS gap
LEFT JOIN
(
    SELECT product_id, groupArray((first_missing, last_missing)) AS ranges
    FROM trade_gaps_given_up
    GROUP BY product_id
) AS gone ON gone.product_id = gap.product_id;
