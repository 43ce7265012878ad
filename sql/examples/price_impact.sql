-- Kyle's lambda by hour: the move of the price for one unit of base currency that takers buy more than sell.
-- param product String = BTC-USD  (which product)
-- param interval String = 10s  (of the regression; a whole number and s or m)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toStartOfHour(time) AS hour,
    count() AS intervals,
    covarPopStable(signed_volume, move) / varPopStable(signed_volume) AS lambda,
    pow(corrStable(signed_volume, move), 2) AS r_squared
FROM
(
    SELECT
        time,
        toFloat64(buy_volume - sell_volume) AS signed_volume,
        toFloat64(close - lagInFrame(close) OVER place) AS move,
        row_number() OVER place AS number
    FROM candles(
        product = {product:String},
        interval = {interval:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    )
    WINDOW place AS (ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE number > 1
GROUP BY hour
ORDER BY hour;
