-- Spread, depth within 10 bps and imbalance of a product's book by minute, from book_depth_1s.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toStartOfMinute(time) AS minute,
    count() AS seconds,
    avg(spread_bps) AS spread_bps,
    avg(toFloat64(bid_base_10bps)) AS bid_base_10bps,
    avg(toFloat64(ask_base_10bps)) AS ask_base_10bps,
    avg(imbalance_10bps) AS imbalance_10bps
FROM book_depth_1s AS depth
WHERE product_id = {product:String}
    AND time >= {from:DateTime64(6, 'UTC')}
    AND time < {to:DateTime64(6, 'UTC')}
GROUP BY minute
ORDER BY minute;
