-- Each hour's volume against the average hour of the 24 before it (those before the product's first trade of them don't
-- count; at least 12 must be left). The hour that still runs is there too: its volume can only grow.
-- Readers: anomalies_live, researchers.
CREATE OR REPLACE VIEW hour_volumes AS
SELECT
    {product:String} AS product_id,
    time,
    trades,
    volume,
    toUInt32(dateDiff('hour', first_hour, time)) AS hours,
    before / hours AS average,
    toFloat64(volume) / average AS ratio
FROM
(
    SELECT
        candle.time AS time,
        candle.trades AS trades,
        candle.volume AS volume,
        sum(toFloat64(candle.volume)) OVER day AS before,
        min(candle.time) OVER day AS first_hour,
        count() OVER day AS known
    FROM
    (
        SELECT state.time AS time, sum(state.trades) AS trades, sum(state.volume) AS volume
        FROM candle_states AS state
        WHERE state.interval = '1h'
            AND state.product_id = {product:String}
            AND state.time >= toStartOfHour({from:DateTime64(6, 'UTC')} - toIntervalDay(1))
            AND state.time < {to:DateTime64(6, 'UTC')}
        GROUP BY time
    ) AS candle
    WINDOW day AS (ORDER BY toUInt32(intDiv(toUnixTimestamp(candle.time), 3600)) RANGE BETWEEN 24 PRECEDING AND 1 PRECEDING)
)
WHERE known > 0 AND hours >= 12 AND time >= toStartOfHour({from:DateTime64(6, 'UTC')});
