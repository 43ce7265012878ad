-- Amihud's illiquidity by hour: mean absolute return of a minute per million of quote currency traded in it, in bps.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toStartOfHour(candle.time) AS hour,
    count() AS minutes,
    avg(10000 * abs(log_return) / (toFloat64(quote_volume) / 1e6)) AS bps_per_million
FROM log_returns(products = [{product:String}], from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')}) AS move
INNER JOIN candles(
    product = {product:String},
    interval = '1m',
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS candle ON candle.time = move.time
GROUP BY hour
ORDER BY hour;
