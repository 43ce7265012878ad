-- Candles: states that add up, so that late trades (a filled hole) change the candle they belong to. A trade enters
-- candles_1s_state, whose blocks feed the minute, whose blocks feed the hour, whose blocks feed the day, all inside the
-- one deduplicated insert of the batch. Readers read the finalizing views candles_1s, candles_1m, candles_1h, candles_1d.

-- States of one second per product.
CREATE TABLE IF NOT EXISTS candles_1s_state
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    open AggregateFunction(argMin, Decimal(38, 18), UInt64) CODEC(ZSTD),
    high SimpleAggregateFunction(max, Decimal(38, 18)) CODEC(ZSTD),
    low SimpleAggregateFunction(min, Decimal(38, 18)) CODEC(ZSTD),
    close AggregateFunction(argMax, Decimal(38, 18), UInt64) CODEC(ZSTD),
    volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    quote_volume SimpleAggregateFunction(sum, Decimal(76, 36)) CODEC(ZSTD),
    buy_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    sell_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    trades SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000;

-- States of one minute per product.
CREATE TABLE IF NOT EXISTS candles_1m_state
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    open AggregateFunction(argMin, Decimal(38, 18), UInt64) CODEC(ZSTD),
    high SimpleAggregateFunction(max, Decimal(38, 18)) CODEC(ZSTD),
    low SimpleAggregateFunction(min, Decimal(38, 18)) CODEC(ZSTD),
    close AggregateFunction(argMax, Decimal(38, 18), UInt64) CODEC(ZSTD),
    volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    quote_volume SimpleAggregateFunction(sum, Decimal(76, 36)) CODEC(ZSTD),
    buy_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    sell_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    trades SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000;

-- States of one hour per product.
CREATE TABLE IF NOT EXISTS candles_1h_state
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    open AggregateFunction(argMin, Decimal(38, 18), UInt64) CODEC(ZSTD),
    high SimpleAggregateFunction(max, Decimal(38, 18)) CODEC(ZSTD),
    low SimpleAggregateFunction(min, Decimal(38, 18)) CODEC(ZSTD),
    close AggregateFunction(argMax, Decimal(38, 18), UInt64) CODEC(ZSTD),
    volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    quote_volume SimpleAggregateFunction(sum, Decimal(76, 36)) CODEC(ZSTD),
    buy_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    sell_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    trades SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000;

-- States of one day per product.
CREATE TABLE IF NOT EXISTS candles_1d_state
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    open AggregateFunction(argMin, Decimal(38, 18), UInt64) CODEC(ZSTD),
    high SimpleAggregateFunction(max, Decimal(38, 18)) CODEC(ZSTD),
    low SimpleAggregateFunction(min, Decimal(38, 18)) CODEC(ZSTD),
    close AggregateFunction(argMax, Decimal(38, 18), UInt64) CODEC(ZSTD),
    volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    quote_volume SimpleAggregateFunction(sum, Decimal(76, 36)) CODEC(ZSTD),
    buy_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    sell_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(ZSTD),
    trades SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000;

-- Open and close go by trade_id, not by time: trades of one microsecond have an order too. The product of a price and a
-- size has 36 fraction digits and is kept whole.
CREATE MATERIALIZED VIEW IF NOT EXISTS candles_1s_mv TO candles_1s_state AS
SELECT
    product_id,
    toStartOfSecond(trades.time) AS time,
    argMinState(price, trade_id) AS open,
    max(price) AS high,
    min(price) AS low,
    argMaxState(price, trade_id) AS close,
    sum(size) AS volume,
    sum(toDecimal256(price, 18) * toDecimal256(size, 18)) AS quote_volume,
    sumIf(size, taker_side = 'buy') AS buy_volume,
    sumIf(size, taker_side = 'sell') AS sell_volume,
    count() AS trades
FROM trades
GROUP BY product_id, time;

-- From 1s to 1m.
CREATE MATERIALIZED VIEW IF NOT EXISTS candles_1m_mv TO candles_1m_state AS
SELECT
    product_id,
    toDateTime64(toStartOfMinute(source.time), 6, 'UTC') AS time,
    argMinMergeState(source.open) AS open,
    max(source.high) AS high,
    min(source.low) AS low,
    argMaxMergeState(source.close) AS close,
    sum(source.volume) AS volume,
    sum(source.quote_volume) AS quote_volume,
    sum(source.buy_volume) AS buy_volume,
    sum(source.sell_volume) AS sell_volume,
    sum(source.trades) AS trades
FROM candles_1s_state AS source
GROUP BY product_id, time;

-- From 1m to 1h.
CREATE MATERIALIZED VIEW IF NOT EXISTS candles_1h_mv TO candles_1h_state AS
SELECT
    product_id,
    toDateTime64(toStartOfHour(source.time), 6, 'UTC') AS time,
    argMinMergeState(source.open) AS open,
    max(source.high) AS high,
    min(source.low) AS low,
    argMaxMergeState(source.close) AS close,
    sum(source.volume) AS volume,
    sum(source.quote_volume) AS quote_volume,
    sum(source.buy_volume) AS buy_volume,
    sum(source.sell_volume) AS sell_volume,
    sum(source.trades) AS trades
FROM candles_1m_state AS source
GROUP BY product_id, time;

-- From 1h to 1d.
CREATE MATERIALIZED VIEW IF NOT EXISTS candles_1d_mv TO candles_1d_state AS
SELECT
    product_id,
    toDateTime64(toStartOfDay(source.time), 6, 'UTC') AS time,
    argMinMergeState(source.open) AS open,
    max(source.high) AS high,
    min(source.low) AS low,
    argMaxMergeState(source.close) AS close,
    sum(source.volume) AS volume,
    sum(source.quote_volume) AS quote_volume,
    sum(source.buy_volume) AS buy_volume,
    sum(source.sell_volume) AS sell_volume,
    sum(source.trades) AS trades
FROM candles_1h_state AS source
GROUP BY product_id, time;

-- vwap in the views below is a division of whole numbers: divideDecimal() comes to the same, many times slower.

-- Candles of one second. time is the interval's start; vwap = quote_volume / volume, cut (not rounded) to 18 fraction digits.
CREATE VIEW IF NOT EXISTS candles_1s AS
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
FROM candles_1s_state AS state
GROUP BY product_id, time;

-- Candles of one minute. time is the interval's start; vwap = quote_volume / volume, cut (not rounded) to 18 fraction digits.
CREATE VIEW IF NOT EXISTS candles_1m AS
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
FROM candles_1m_state AS state
GROUP BY product_id, time;

-- Candles of one hour. time is the interval's start; vwap = quote_volume / volume, cut (not rounded) to 18 fraction digits.
CREATE VIEW IF NOT EXISTS candles_1h AS
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
FROM candles_1h_state AS state
GROUP BY product_id, time;

-- Candles of one day. time is the interval's start; vwap = quote_volume / volume, cut (not rounded) to 18 fraction digits.
CREATE VIEW IF NOT EXISTS candles_1d AS
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
FROM candles_1d_state AS state
GROUP BY product_id, time;
