-- Candles: states that add up, so that late trades (a filled gap) change the candle they belong to. A trade enters
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
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1;

-- States of one minute per product.
CREATE TABLE IF NOT EXISTS candles_1m_state AS candles_1s_state
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1;

-- States of one hour per product.
CREATE TABLE IF NOT EXISTS candles_1h_state AS candles_1s_state
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1;

-- States of one day per product.
CREATE TABLE IF NOT EXISTS candles_1d_state AS candles_1s_state
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1;

-- The four tables of states as one. A reader says which one by _table, and the planner looks at no other.
-- Reader: the view candles.
CREATE TABLE IF NOT EXISTS candles_states AS candles_1s_state
ENGINE = Merge(currentDatabase(), '^candles_1[smhd]_state$');

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
