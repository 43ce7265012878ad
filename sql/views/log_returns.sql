-- Log returns of the 1m closes of several products, a row for every product and minute that touches the range and has
-- a price known in the minute before it; 0 in minutes without trades. Readers: correlations, beta_to_btc.
--   SELECT * FROM log_returns(products=['BTC-USD', 'ETH-USD'], from='2026-07-07 00:00:00', to='2026-07-08 00:00:00')
CREATE OR REPLACE VIEW log_returns AS
WITH
    toUnixTimestamp64Micro({from:DateTime64(6, 'UTC')}) AS from_micros,
    least(toUnixTimestamp64Micro({to:DateTime64(6, 'UTC')}), toUnixTimestamp64Micro(now64(6))) AS to_micros,
    intDiv(from_micros, 60000000) AS first,
    intDiv(to_micros - 1, 60000000) AS last,
    fromUnixTimestamp64Micro(first * 60000000, 'UTC') AS first_time,
    -- The minutes before the range that hold the products' last closes.
    (
        SELECT min(newest)
        FROM
        (
            SELECT max(time) AS newest
            FROM candle_states
            WHERE interval = '1m' AND product_id IN {products:Array(String)} AND time < first_time
            GROUP BY product_id
        )
    ) AS known_since
SELECT
    product_id,
    time,
    log(close / previous) AS log_return
FROM
(
    SELECT
        grid.product_id AS product_id,
        fromUnixTimestamp64Micro(grid.minute * 60000000, 'UTC') AS time,
        closes.close AS close,
        lagInFrame(closes.close) OVER
            (PARTITION BY grid.product_id ORDER BY grid.minute ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
    FROM
    (
        SELECT arrayJoin(arrayDistinct({products:Array(String)})) AS product_id, first - 1 + toInt64(number) AS minute
        FROM numbers(toUInt64(greatest(if(from_micros < to_micros, last - first + 2, 0), 0)))
    ) AS grid
    ASOF LEFT JOIN
    (
        SELECT
            CAST(state.product_id AS String) AS product_id,
            intDiv(toUnixTimestamp64Micro(state.time), 60000000) AS minute,
            toFloat64(argMaxMerge(state.close)) AS close
        FROM candle_states AS state
        WHERE state.interval = '1m'
            AND state.product_id IN {products:Array(String)}
            AND state.time >= ifNull(known_since, first_time)
            AND state.time < {to:DateTime64(6, 'UTC')}
        GROUP BY state.product_id, state.time
    ) AS closes ON closes.product_id = grid.product_id AND closes.minute <= grid.minute
)
WHERE previous > 0 AND time >= first_time;
