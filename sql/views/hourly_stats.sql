-- Per product and hour with trades: the candle, its return, the order-flow imbalance, the mean size of a trade.
CREATE OR REPLACE VIEW hourly_stats AS
SELECT
    product_id,
    time AS hour,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    buy_volume,
    sell_volume,
    trades,
    vwap,
    toFloat64(close) / toFloat64(open) - 1 AS return,
    toFloat64(buy_volume - sell_volume) / toFloat64(buy_volume + sell_volume) AS order_flow_imbalance,
    toFloat64(volume) / trades AS mean_trade_size
FROM candles_1h;
