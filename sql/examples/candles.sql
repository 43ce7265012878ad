-- Open, high, low, close, volume and VWAP of a product at any interval.
-- param product String = BTC-USD  (which product)
-- param interval String = 1m  (a whole number and s, m, h, d or w)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT * EXCEPT is_filled
FROM candles(
    product = {product:String},
    interval = {interval:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
)
ORDER BY time;
