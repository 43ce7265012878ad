-- Candles of one minute. time is the interval's start; vwap = quote_volume / volume, cut (not rounded) to 18 fraction digits.
-- vwap is a division of whole numbers: divideDecimal() comes to the same, many times slower.
CREATE OR REPLACE VIEW candles_1m AS
SELECT
    product_id,
    time,
    argMinMerge(state.open) AS open,
    max(state.high) AS high,
    min(state.low) AS low,
    argMaxMerge(state.close) AS close,
    sum(state.volume) AS volume,
    sum(state.quote_volume) AS quote_volume,
    sum(state.buy_volume) AS buy_volume,
    sum(state.sell_volume) AS sell_volume,
    sum(state.trades) AS trades,
    reinterpret(
        toInt128(intDiv(reinterpret(quote_volume, 'Int256'), toInt256(reinterpret(volume, 'Int128')))),
        'Decimal(38, 18)'
    ) AS vwap
FROM candle_states AS state
WHERE state.interval = '1m'
GROUP BY product_id, time;
