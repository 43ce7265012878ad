-- Candles of any interval, from the coarsest of the four kept ones that divides it. A parameterized view:
--   SELECT * FROM candles(product='BTC-USD', interval='5m', from='2026-07-07 00:00:00', to='2026-07-08 00:00:00')
-- interval is a whole number and a unit, s, m, h, d or w: 1s, 5m, 36h, 2w; from and to are times in UTC. Intervals of
-- s, m, h and d are counted from 1970-01-01 00:00 UTC, those of w from Monday 1970-01-05: a week starts on Monday.
-- A candle is always a whole one: the answer holds those that touch the time from `from` up to, but without, `to`.
-- Columns: product_id, time (the interval's start), open, high, low, close, volume (base), quote_volume, buy_volume and
-- sell_volume (base; of takers), trades, vwap (quote_volume / volume, cut to 18 fraction digits), is_filled (false).
-- Intervals without trades are left out.
-- What depends on parameters alone must fold to constants when the query is planned, so that only what is asked for is
-- read: transform() and throwIf() don't fold. step, origin, since and until are µs.
-- Readers: the API, the live stream, the statistics, researchers.
CREATE OR REPLACE VIEW candles AS
WITH
    toInt64OrZero(extract({interval:String}, '^([1-9][0-9]{0,6})[smhdw]$')) AS times,
    right({interval:String}, 1) AS unit,
    multiIf(unit = 's', 1, unit = 'm', 60, unit = 'h', 3600, unit = 'd', 86400, 604800) AS unit_seconds,
    greatest(times, 1) * unit_seconds * 1000000 AS step,
    if(unit = 'w', 345600000000, 0) AS origin,
    intDiv(toUnixTimestamp64Micro({from:DateTime64(6, 'UTC')}) - origin, step) * step + origin AS since,
    intDiv(toUnixTimestamp64Micro({to:DateTime64(6, 'UTC')}) - 1 - origin, step) * step + origin + step AS until,
    multiIf(step % 86400000000 = 0, '1d', step % 3600000000 = 0, '1h', step % 60000000 = 0, '1m', '1s') AS base_interval,
    fromUnixTimestamp64Micro(since, 'UTC') AS first,
    fromUnixTimestamp64Micro(until, 'UTC') AS last,
    reinterpret(quote_volume, 'Int256') AS dividend,
    reinterpret(volume, 'Int128') AS divisor,
    toInt128(toFloat64(dividend) / toFloat64(divisor) * (1 - 1e-14)) AS guess
SELECT
    CAST({product:String} AS LowCardinality(String)) AS product_id,
    time,
    open,
    CAST(high AS Decimal(38, 18)) AS high,
    CAST(low AS Decimal(38, 18)) AS low,
    close,
    CAST(volume AS Decimal(38, 18)) AS volume,
    CAST(quote_volume AS Decimal(76, 36)) AS quote_volume,
    CAST(buy_volume AS Decimal(38, 18)) AS buy_volume,
    CAST(sell_volume AS Decimal(38, 18)) AS sell_volume,
    CAST(trades AS UInt64) AS trades,
    -- quote_volume / volume in whole numbers, cut to 18 fraction digits. A division of 256 bits is slow, so a float
    -- guesses the quotient from below and 128 bits divide what is left; where that may not fit, the slow way.
    reinterpret(
        if(
            dividend < toInt256('100000000000000000000000000000000000000000000000000'),
            guess + intDiv(toInt128(dividend - toInt256(guess) * toInt256(divisor)), divisor),
            toInt128(intDiv(dividend, toInt256(divisor)))
        ),
        'Decimal(38, 18)'
    ) AS vwap,
    false AS is_filled
FROM
(
    -- States of one candle may lie in several parts, so those of a kept interval are merged too. A branch of their own, with
    -- FINAL, takes longer to plan than this takes to run.
    SELECT
        fromUnixTimestamp64Micro(
            intDiv(toUnixTimestamp64Micro(state.time) - origin, step) * step + origin,
            'UTC'
        ) AS time,
        argMinMerge(state.open) AS open,
        max(state.high) AS high,
        min(state.low) AS low,
        argMaxMerge(state.close) AS close,
        sum(state.volume) AS volume,
        sum(state.quote_volume) AS quote_volume,
        sum(state.buy_volume) AS buy_volume,
        sum(state.sell_volume) AS sell_volume,
        sum(state.trades) AS trades
    FROM candle_states AS state
    WHERE state.interval = base_interval AND product_id = {product:String}
        AND state.time >= first AND state.time < last
    GROUP BY time
)
WHERE (SELECT throwIf(times = 0, 'interval: expected a whole number and s, m, h, d or w, such as 1s, 5m, 4h or 1w')) = 0
    AND {from:DateTime64(6, 'UTC')} < {to:DateTime64(6, 'UTC')};
