-- The trades that are missing now: which, since when, how many REST proved not to have, and when it was last asked.
-- param limit UInt32 = 100  (how many of the newest gaps)

SELECT
    gaps.product_id AS product_id,
    gaps.first_missing AS first_missing,
    gaps.last_missing AS last_missing,
    gaps.missing AS missing,
    gaps.after_time AS after_time,
    gaps.before_time AS before_time,
    gaps.given_up AS given_up,
    maxIf(asks.asked_at, asks.first_missing <= gaps.last_missing AND asks.last_missing >= gaps.first_missing) AS asked_at
FROM trade_gaps AS gaps
LEFT JOIN trade_gap_asks AS asks ON asks.product_id = gaps.product_id
GROUP BY ALL
ORDER BY after_time DESC, product_id
LIMIT {limit:UInt32};
