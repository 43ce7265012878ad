-- Who took more, buyers (towards 1) or sellers (towards -1), per interval with trades.
CREATE OR REPLACE VIEW order_flow AS
SELECT
    product_id,
    time,
    buy_volume,
    sell_volume,
    trades,
    toFloat64(buy_volume - sell_volume) / toFloat64(buy_volume + sell_volume) AS order_flow_imbalance
FROM candles(
    product = {product:String},
    interval = {interval:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
);
