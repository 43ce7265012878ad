-- The distribution of a product's trade sizes, one row; no row without trades. A quantile p is the size at place
-- floor(p × trades), counted from 0 in ascending order: always a size that was traded, never one in between.
CREATE OR REPLACE VIEW trade_sizes AS
WITH quantilesExact(0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)(size) AS quantiles
SELECT
    product_id,
    count() AS trades,
    toFloat64(sum(size)) / trades AS mean,
    min(size) AS smallest,
    quantiles[1] AS p01,
    quantiles[2] AS p10,
    quantiles[3] AS p25,
    quantiles[4] AS p50,
    quantiles[5] AS p75,
    quantiles[6] AS p90,
    quantiles[7] AS p99,
    max(size) AS largest
FROM trades
WHERE product_id = {product:String}
    AND time >= {from:DateTime64(6, 'UTC')}
    AND time < {to:DateTime64(6, 'UTC')}
GROUP BY product_id;
