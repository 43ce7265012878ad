-- The figures of Coinbase's ticker for the 24 hours before `at` (cut to whole seconds), per product, from the trades
-- themselves: open is the price of the last trade before the 24 hours (of the first in them where there is none), last
-- the newest price, change = last - open, change_ratio = change / open. Products without a trade in the 24 hours are
-- left out.
CREATE OR REPLACE VIEW rolling_24h AS
WITH
    toDateTime64(toStartOfSecond({at:DateTime64(6, 'UTC')}), 6, 'UTC') AS until,
    until - toIntervalHour(24) AS since
SELECT
    day.product_id AS product_id,
    if(before.price > 0, before.price, day.first) AS open,
    day.high AS high,
    day.low AS low,
    day.last AS last,
    day.volume AS volume,
    day.quote_volume AS quote_volume,
    day.trades AS trades,
    last - open AS change,
    toFloat64(change) / toFloat64(open) AS change_ratio
FROM
(
    SELECT
        product_id,
        argMinMerge(state.open) AS first,
        max(state.high) AS high,
        min(state.low) AS low,
        argMaxMerge(state.close) AS last,
        sum(state.volume) AS volume,
        sum(state.quote_volume) AS quote_volume,
        sum(state.trades) AS trades
    FROM candle_states AS state
    WHERE state.interval = '1s' AND state.time >= since AND state.time < until
    GROUP BY product_id
) AS day
LEFT JOIN
(
    -- Whole days as days: nobody needs to read years of seconds.
    SELECT product_id, argMaxMerge(close) AS price
    FROM
    (
        SELECT product_id, close
        FROM candle_states
        WHERE interval = '1d' AND time < toStartOfDay(since)
        UNION ALL
        SELECT product_id, close
        FROM candle_states
        WHERE interval = '1s' AND time >= toStartOfDay(since) AND time < since
    )
    GROUP BY product_id
) AS before ON before.product_id = day.product_id;
