-- At which hour of the day (UTC) a product moves most: root mean square of its 1m log returns, in bps.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 7d  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT toHour(time) AS hour_of_day, count() AS minutes, 10000 * sqrt(avg(log_return * log_return)) AS move_per_minute_bps
FROM log_returns(products = [{product:String}], from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')})
GROUP BY hour_of_day
ORDER BY hour_of_day;
