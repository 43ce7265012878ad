-- Volume of all products by day in their quote currencies, with each day's change.
-- param from DateTime64(6, 'UTC') = newest - 30d  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toDate(time) AS day,
    product_id,
    close,
    100 * (toFloat64(close) / toFloat64(open) - 1) AS change_percent,
    volume,
    quote_volume,
    trades
FROM candles_1d
WHERE time >= toStartOfDay({from:DateTime64(6, 'UTC')}) AND time < {to:DateTime64(6, 'UTC')}
ORDER BY day, product_id;
