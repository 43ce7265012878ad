-- At which prices a product's volume was traded, in steps of the price.
-- param product String = BTC-USD  (which product)
-- param step Decimal(38, 18) = 10  (the height of a price level)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    intDiv(toInt256(reinterpret(price, 'Int128')), toInt256(reinterpret({step:Decimal(38, 18)}, 'Int128')))
        * toDecimal256({step:Decimal(38, 18)}, 18) AS price_from,
    sum(size) AS volume,
    sumIf(size, taker_side = 'buy') AS buy_volume,
    sumIf(size, taker_side = 'sell') AS sell_volume,
    count() AS trades,
    100 * toFloat64(volume) / toFloat64(sum(volume) OVER ()) AS percent_of_volume
FROM trades
WHERE product_id = {product:String}
    AND time >= {from:DateTime64(6, 'UTC')}
    AND time < {to:DateTime64(6, 'UTC')}
GROUP BY price_from
ORDER BY price_from DESC;
