-- The largest trades of a product by value, with the taker's side.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)
-- param limit UInt32 = 20  (how many)

SELECT time, trade_id, taker_side, price, size, toDecimal256(price, 18) * toDecimal256(size, 18) AS value
FROM trades
WHERE product_id = {product:String}
    AND time >= {from:DateTime64(6, 'UTC')}
    AND time < {to:DateTime64(6, 'UTC')}
ORDER BY value DESC, trade_id
LIMIT {limit:UInt32};
