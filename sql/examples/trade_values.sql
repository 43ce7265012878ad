-- How many trades of a product are worth 1 to 10, 10 to 100, … and their share of all volume.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    if(power < 0, 0, toUInt64(exp10(power))) AS value_from,
    toUInt64(exp10(power + 1)) AS value_below,
    count() AS trades,
    100 * trades / sum(trades) OVER () AS percent_of_trades,
    sum(value) AS quote_volume,
    100 * toFloat64(quote_volume) / toFloat64(sum(quote_volume) OVER ()) AS percent_of_volume
FROM
(
    SELECT
        toDecimal256(price, 18) * toDecimal256(size, 18) AS value,
        -- The digits before the point say which power of ten, exactly; everything under 1 is one group.
        if(value < 1, -1, length(toString(toUInt128(value))) - 1) AS power
    FROM trades
    WHERE product_id = {product:String}
        AND time >= {from:DateTime64(6, 'UTC')}
        AND time < {to:DateTime64(6, 'UTC')}
)
GROUP BY power
ORDER BY power;
