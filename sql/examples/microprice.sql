-- Does the microprice know where mid goes: its distance from mid, its correlation with mid's next move.
-- param product String = BTC-USD  (which product)
-- param ahead UInt32 = 5  (seconds)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    count() AS seconds,
    10000 * avg(abs(lean)) AS mean_distance_bps,
    corrStable(lean, later.mid / now.mid - 1) AS correlation,
    avgIf(sign(lean) = sign(later.mid - now.mid), lean != 0 AND later.mid != now.mid) AS same_sign
FROM
(
    SELECT time, toFloat64(depth.mid) AS mid, toFloat64(microprice - depth.mid) / mid AS lean
    FROM book_depth_1s AS depth
    WHERE product_id = {product:String}
        AND time >= {from:DateTime64(6, 'UTC')}
        AND time < {to:DateTime64(6, 'UTC')}
) AS now
INNER JOIN
(
    SELECT time - toIntervalSecond({ahead:UInt32}) AS time, toFloat64(depth.mid) AS mid
    FROM book_depth_1s AS depth
    WHERE product_id = {product:String}
        AND depth.time >= {from:DateTime64(6, 'UTC')}
        AND depth.time < {to:DateTime64(6, 'UTC')} + toIntervalSecond({ahead:UInt32})
) AS later ON later.time = now.time
HAVING seconds > 0;
