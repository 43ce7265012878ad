-- The deepest fall of a product from a top in a time: from when and what price to when and what price, in percent.
-- param product String = BTC-USD  (which product)
-- param interval String = 1m  (of the closes; a whole number and s, m, h, d or w)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    100 * min(drawdown) AS max_drawdown_percent,
    argMin(peak, (drawdown, time)) AS peak,
    argMin(peak_time, (drawdown, time)) AS peak_at,
    argMin(close, (drawdown, time)) AS trough,
    argMin(time, (drawdown, time)) AS trough_at
FROM
(
    SELECT
        time,
        close,
        peak,
        drawdown,
        maxIf(time, drawdown = 0) OVER (ORDER BY time ROWS UNBOUNDED PRECEDING) AS peak_time
    FROM drawdown(
        product = {product:String},
        interval = {interval:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    )
)
HAVING count() > 0;
