-- candles without empty intervals: one without trades repeats the close before it (open = high = low = close = vwap;
-- volumes and trades are 0; is_filled is true), also when the last trade is older than the range. Before a product's
-- first trade there is nothing to repeat, and an interval that hasn't begun yet isn't filled. Readers: the API,
-- the view volatility, researchers.
CREATE OR REPLACE VIEW candles_filled AS
WITH
    toInt64OrZero(extract({interval:String}, '^([1-9][0-9]{0,6})[smhdw]$')) AS times,
    right({interval:String}, 1) AS unit,
    multiIf(unit = 's', 1, unit = 'm', 60, unit = 'h', 3600, unit = 'd', 86400, 604800) AS unit_seconds,
    greatest(times, 1) * unit_seconds * 1000000 AS step,
    if(unit = 'w', 345600000000, 0) AS origin,
    intDiv(toUnixTimestamp64Micro({from:DateTime64(6, 'UTC')}) - origin, step) * step + origin AS since,
    intDiv(toUnixTimestamp64Micro({to:DateTime64(6, 'UTC')}) - 1 - origin, step) * step + origin + step AS until,
    least(until, toUnixTimestamp64Micro(now64(6))) AS fill_until,
    -- A trade before the range: its candle is read too, for its close.
    (
        SELECT time
        FROM candle_states
        WHERE interval = '1s' AND product_id = {product:String} AND time < fromUnixTimestamp64Micro(since, 'UTC')
        ORDER BY time DESC
        LIMIT 1
    ) AS last_before
SELECT
    CAST({product:String} AS LowCardinality(String)) AS product_id,
    fromUnixTimestamp64Micro(start, 'UTC') AS time,
    if(filled.trades = 0, filled.close, filled.open) AS open,
    if(filled.trades = 0, filled.close, filled.high) AS high,
    if(filled.trades = 0, filled.close, filled.low) AS low,
    filled.close AS close,
    volume,
    quote_volume,
    buy_volume,
    sell_volume,
    trades,
    if(filled.trades = 0, filled.close, filled.vwap) AS vwap,
    CAST(trades = 0 AS Bool) AS is_filled
FROM
(
    SELECT
        toUnixTimestamp64Micro(time) AS start,
        open, high, low, close, volume, quote_volume, buy_volume, sell_volume, trades, vwap,
        true AS known
    FROM candles(
        product = {product:String},
        interval = {interval:String},
        from = ifNull(last_before, {from:DateTime64(6, 'UTC')}),
        to = {to:DateTime64(6, 'UTC')}
    )
    ORDER BY start ASC
    WITH FILL FROM since TO fill_until STEP step
    INTERPOLATE (close, known)
) AS filled
WHERE known AND start >= since AND {from:DateTime64(6, 'UTC')} < {to:DateTime64(6, 'UTC')};
