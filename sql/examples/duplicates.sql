-- Is every trade stored once: rows, different ids, and the ids from first to last less the missing ones; all equal.

SELECT
    product_id,
    count() AS rows,
    uniqExact(trade_id) AS different_ids,
    min(trade_id) AS first_id,
    max(trade_id) AS last_id,
    any(gaps.missing) AS missing_between,
    last_id - first_id + 1 - missing_between AS expected,
    rows - different_ids AS duplicates,
    rows = different_ids AND rows = expected AS ok
FROM trades
LEFT JOIN
(
    SELECT gaps.product_id AS product_id, sum(gaps.missing) AS missing
    FROM trade_gaps AS gaps
    INNER JOIN
    (
        SELECT product_id, min(first_trade_id) AS first_id, max(last_trade_id) AS last_id
        FROM trade_runs
        GROUP BY product_id
    ) AS stored ON stored.product_id = gaps.product_id
    WHERE gaps.first_missing > stored.first_id AND gaps.last_missing < stored.last_id
    GROUP BY product_id
) AS gaps ON gaps.product_id = trades.product_id
GROUP BY product_id
ORDER BY product_id;
