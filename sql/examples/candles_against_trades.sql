-- Do the candles count what the trades say: per product and hour, counted from both; differs must be 0.
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    product_id,
    hour,
    sum(trades_rows) AS trades,
    sum(candle_trades) AS in_candles,
    sum(trades_volume) AS volume,
    sum(candle_volume) AS volume_in_candles,
    trades != in_candles OR volume != volume_in_candles AS differs
FROM
(
    SELECT product_id, toStartOfHour(time) AS hour, count() AS trades_rows, sum(size) AS trades_volume,
        0 AS candle_trades, toDecimal128(0, 18) AS candle_volume
    FROM trades
    WHERE time >= toStartOfHour({from:DateTime64(6, 'UTC')})
        AND time < toStartOfHour({to:DateTime64(6, 'UTC')} + toIntervalHour(1))
    GROUP BY product_id, hour
    UNION ALL
    SELECT product_id, toStartOfHour(time) AS hour, 0, 0, candles_1h.trades, candles_1h.volume
    FROM candles_1h
    WHERE time >= toStartOfHour({from:DateTime64(6, 'UTC')})
        AND time < toStartOfHour({to:DateTime64(6, 'UTC')} + toIntervalHour(1))
)
GROUP BY product_id, hour
ORDER BY differs DESC, hour, product_id;
