-- Do a product's 1m returns repeat or reverse: their autocorrelation at lags of 1 to 10 minutes.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

WITH returns AS
(
    SELECT time, log_return
    FROM log_returns(products = [{product:String}], from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')})
)
SELECT lag, count() AS pairs, corrStable(now.log_return, before.log_return) AS autocorrelation
FROM
(
    SELECT time, log_return, arrayJoin(range(1, 11)) AS lag, time - toIntervalMinute(lag) AS time_before
    FROM returns
) AS now
INNER JOIN returns AS before ON before.time = now.time_before
GROUP BY lag
ORDER BY lag;
