-- Which of two products moves first: correlation of their log returns, the other's `lag` intervals later.
-- param product String = BTC-USD  (which product)
-- param other String = ETH-USD  (the other one)
-- param interval String = 5s  (a whole number and s, m, h or d)
-- param from DateTime64(6, 'UTC') = newest - 6h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

WITH
    own AS
    (
        SELECT
            row_number() OVER place AS number,
            time,
            log(toFloat64(close) / lagInFrame(toFloat64(close)) OVER place) AS log_return
        FROM candles_filled(
            product = {product:String},
            interval = {interval:String},
            from = {from:DateTime64(6, 'UTC')},
            to = {to:DateTime64(6, 'UTC')}
        )
        WINDOW place AS (ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ),
    others AS
    (
        SELECT
            row_number() OVER place AS number,
            time,
            log(toFloat64(close) / lagInFrame(toFloat64(close)) OVER place) AS log_return
        FROM candles_filled(
            product = {other:String},
            interval = {interval:String},
            from = {from:DateTime64(6, 'UTC')},
            to = {to:DateTime64(6, 'UTC')}
        )
        WINDOW place AS (ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ),
    together AS
    (
        SELECT
            toInt64(row_number() OVER (ORDER BY own.time)) AS place,
            own.log_return AS own_return,
            others.log_return AS other_return
        FROM own
        INNER JOIN others ON others.time = own.time
        WHERE own.number > 1 AND others.number > 1
    )
SELECT lag, count() AS pairs, corrStable(first.own_return, second.other_return) AS correlation
FROM
(
    SELECT own_return, arrayJoin(range(-10, 11)) AS lag, place + lag AS other_place
    FROM together
) AS first
INNER JOIN together AS second ON second.place = first.other_place
GROUP BY lag
ORDER BY lag;
