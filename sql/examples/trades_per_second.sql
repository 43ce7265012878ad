-- How busy a product is: trades per minute, and the busiest second of each minute.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 1h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toStartOfMinute(time) AS minute,
    sum(second.trades) AS trades,
    count() AS seconds_with_trades,
    max(second.trades) AS busiest_second_trades,
    argMax(time, (second.trades, -toUnixTimestamp64Micro(time))) AS busiest_second
FROM candles(
    product = {product:String},
    interval = '1s',
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS second
GROUP BY minute
ORDER BY minute;
