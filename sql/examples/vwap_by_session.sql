-- VWAP and volume of a product in the Asian, European and American part of each day, eight hours each.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 7d  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toDate(time) AS day,
    transform(toHour(time), [0, 8, 16], ['00-08 Asia', '08-16 Europe', '16-24 America'], '') AS session,
    vwap,
    volume,
    quote_volume,
    trades
FROM candles(
    product = {product:String},
    interval = '8h',
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
)
ORDER BY time;
