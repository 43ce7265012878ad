-- TWAP of a product by hour (mean of the closes of its seconds) beside the VWAP, and how far apart they are.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toStartOfHour(second.time) AS hour,
    count() AS seconds,
    avg(toFloat64(second.close)) AS twap,
    -- 0 where the join found no hour with trades.
    nullIf(any(hourly.vwap), 0) AS vwap,
    10000 * (toFloat64(vwap) / twap - 1) AS vwap_above_bps
FROM candles_filled(
    product = {product:String},
    interval = '1s',
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS second
LEFT JOIN
(
    SELECT toDateTime(stats.hour, 'UTC') AS hour, vwap
    FROM hourly_stats AS stats
    WHERE stats.product_id = {product:String}
) AS hourly ON hourly.hour = toStartOfHour(second.time)
GROUP BY hour
ORDER BY hour;
