-- The trades that are missing now: which ids, since when, and whether backfill has given them up.
-- param limit UInt32 = 100  (how many of the newest holes)

SELECT
    gaps.product_id AS product_id,
    gaps.first_missing AS first_missing,
    gaps.last_missing AS last_missing,
    gaps.missing AS missing,
    gaps.after_time AS after_time,
    gaps.before_time AS before_time,
    sum(greatest(0, least(toInt64(gone.last_missing), toInt64(gaps.last_missing))
        - greatest(toInt64(gone.first_missing), toInt64(gaps.first_missing)) + 1)) AS given_up
FROM trade_gaps AS gaps
LEFT JOIN trade_gaps_given_up AS gone ON gone.product_id = gaps.product_id
GROUP BY ALL
ORDER BY after_time DESC, product_id
LIMIT {limit:UInt32};
