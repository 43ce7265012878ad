-- How long a product waits for its next trade, in milliseconds: mean and quantiles.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    count() AS pairs,
    avg(wait) / 1000 AS mean_ms,
    quantileExact(0.5)(wait) / 1000 AS p50_ms,
    quantileExact(0.9)(wait) / 1000 AS p90_ms,
    quantileExact(0.99)(wait) / 1000 AS p99_ms,
    max(wait) / 1000 AS longest_ms
FROM
(
    SELECT
        toUnixTimestamp64Micro(time) - lagInFrame(toUnixTimestamp64Micro(time)) OVER place AS wait,
        row_number() OVER place AS number
    FROM trades
    WHERE product_id = {product:String}
        AND time >= {from:DateTime64(6, 'UTC')}
        AND time < {to:DateTime64(6, 'UTC')}
    WINDOW place AS (ORDER BY trade_id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE number > 1
HAVING pairs > 0;
