-- Does the order-flow imbalance of an interval tell the return of the next: correlation, slope, sign.
-- param product String = BTC-USD  (which product)
-- param interval String = 1m  (a whole number and s, m, h, d or w)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    count() AS intervals,
    corrStable(imbalance, next_return_bps) AS correlation,
    covarPopStable(imbalance, next_return_bps) / varPopStable(imbalance) AS slope_bps,
    avgIf(sign(imbalance) = sign(next_return_bps), imbalance != 0 AND next_return_bps != 0) AS same_sign
FROM
(
    SELECT
        flow.order_flow_imbalance AS imbalance,
        10000 * (toFloat64(leadInFrame(candle.close) OVER later) / toFloat64(candle.close) - 1) AS next_return_bps,
        count() OVER later = 2 AS has_next
    FROM order_flow(
        product = {product:String},
        interval = {interval:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    ) AS flow
    INNER JOIN candles(
        product = {product:String},
        interval = {interval:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    ) AS candle ON candle.time = flow.time
    WINDOW later AS (ORDER BY flow.time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)
)
WHERE has_next
HAVING intervals > 0;
