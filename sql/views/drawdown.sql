-- How far each close lies under the highest close of the range so far: 0 to -1. Its minimum is the maximum drawdown.
CREATE OR REPLACE VIEW drawdown AS
SELECT
    product_id,
    time,
    close,
    max(close) OVER (ORDER BY time ROWS UNBOUNDED PRECEDING) AS peak,
    toFloat64(close) / toFloat64(peak) - 1 AS drawdown
FROM candles(
    product = {product:String},
    interval = {interval:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
);
