-- The quoted spread of a product by hour in bps: mean over time, median and 95th percentile of the seconds.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toStartOfHour(time) AS hour,
    count() AS seconds,
    sum(spread_bps * covered) / sum(covered) AS mean_bps,
    quantileExact(0.5)(spread_bps) AS p50_bps,
    quantileExact(0.95)(spread_bps) AS p95_bps
FROM spreads_1s(product = {product:String}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')})
GROUP BY hour
ORDER BY hour;
