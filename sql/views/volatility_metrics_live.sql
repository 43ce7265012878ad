-- The figures of one product and day as they are now, one row; none when it had no trade on that day.
-- Reader: tasks/stats.ts, which stores them in volatility_metrics.
CREATE OR REPLACE VIEW volatility_metrics_live AS
WITH
    toDateTime64({date:Date}, 6, 'UTC') AS first,
    first + toIntervalDay(1) AS next
SELECT
    {date:Date} AS date,
    candle.product_id AS product_id,
    volatility.minutes AS minutes,
    volatility.returns AS returns,
    candle.trades AS trades,
    candle.volume AS volume,
    volatility.realized_volatility AS realized_volatility,
    volatility.parkinson AS parkinson,
    volatility.garman_klass AS garman_klass,
    worst.max_drawdown AS max_drawdown,
    if(beta.minutes > 0, beta.beta, nan) AS beta_to_btc,
    toFloat64(candle.buy_volume - candle.sell_volume) / toFloat64(candle.buy_volume + candle.sell_volume)
        AS order_flow_imbalance,
    sizes.mean AS mean_trade_size,
    sizes.p50 AS median_trade_size
FROM candles(product = {product:String}, interval = '1d', from = first, to = next) AS candle
CROSS JOIN volatility(product = {product:String}, from = first, to = next) AS volatility
CROSS JOIN trade_sizes(product = {product:String}, from = first, to = next) AS sizes
CROSS JOIN
(
    SELECT min(drawdown) AS max_drawdown
    FROM drawdown(product = {product:String}, interval = '1m', from = first, to = next)
) AS worst
LEFT JOIN beta_to_btc(product = {product:String}, from = first, to = next) AS beta
    ON beta.product_id = candle.product_id;
