-- The gaps that REST filled: how many trades, and how long after the trade they were here, per product.
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    product_id,
    count() AS fills,
    sum(trades) AS filled_trades,
    quantileExact(0.5)(seconds_to_fill) AS p50_seconds,
    quantileExact(0.99)(seconds_to_fill) AS p99_seconds,
    max(seconds_to_fill) AS longest_seconds
FROM trade_fills
WHERE traded_at >= {from:DateTime64(6, 'UTC')} AND traded_at < {to:DateTime64(6, 'UTC')}
GROUP BY product_id
ORDER BY product_id;
