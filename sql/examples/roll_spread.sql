-- Roll's spread by hour, from trade prices alone, beside the quoted one; nan where prices don't bounce.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    hour,
    changes,
    2 * sqrt(-covariance) AS roll_spread,
    10000 * roll_spread / mean_price AS roll_spread_bps,
    quoted.mean_bps AS quoted_spread_bps
FROM
(
    SELECT
        toStartOfHour(time) AS hour,
        count() AS changes,
        covarPopStable(change, change_before) AS covariance,
        avg(price) AS mean_price
    FROM
    (
        SELECT
            time,
            price,
            price - lagInFrame(price) OVER place AS change,
            lagInFrame(price) OVER place - lagInFrame(price, 2) OVER place AS change_before,
            row_number() OVER place AS number
        FROM
        (
            SELECT time, trade_id, toFloat64(trades.price) AS price
            FROM trades
            WHERE product_id = {product:String}
                AND time >= {from:DateTime64(6, 'UTC')}
                AND time < {to:DateTime64(6, 'UTC')}
        )
        WINDOW place AS (ORDER BY trade_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)
    )
    WHERE number > 2
    GROUP BY hour
) AS bounce
LEFT JOIN
(
    SELECT toStartOfHour(time) AS hour, avg(spread_bps) AS mean_bps
    FROM spreads_1s(product = {product:String}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')})
    GROUP BY hour
) AS quoted ON quoted.hour = bounce.hour
ORDER BY hour;
