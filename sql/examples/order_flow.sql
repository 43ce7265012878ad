-- Who took more, buyers (towards 1) or sellers (towards -1), interval by interval.
-- param product String = BTC-USD  (which product)
-- param interval String = 5m  (a whole number and s, m, h, d or w)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT *
FROM order_flow(
    product = {product:String},
    interval = {interval:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
)
ORDER BY time;
