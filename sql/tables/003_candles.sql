-- Candles: states that add up, so that late trades (a filled gap) change the candle they belong to. A trade enters those of
-- its second, minute, hour and day at once, inside the one deduplicated insert of its batch. All four lie in one table: a
-- table more would be a part more in each insert, and parts are what an insert costs. Readers read the finalizing views
-- candles_1s, candles_1m, candles_1h, candles_1d and candles.
CREATE TABLE IF NOT EXISTS candle_states
(
    interval LowCardinality(String),
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    open AggregateFunction(argMin, Decimal(38, 18), UInt64) CODEC(ZSTD),
    high SimpleAggregateFunction(max, Decimal(38, 18)) CODEC(GCD, ZSTD),
    low SimpleAggregateFunction(min, Decimal(38, 18)) CODEC(GCD, ZSTD),
    close AggregateFunction(argMax, Decimal(38, 18), UInt64) CODEC(ZSTD),
    volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(GCD, ZSTD),
    quote_volume SimpleAggregateFunction(sum, Decimal(76, 36)) CODEC(GCD, ZSTD),
    buy_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(GCD, ZSTD),
    sell_volume SimpleAggregateFunction(sum, Decimal(38, 18)) CODEC(GCD, ZSTD),
    trades SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (interval, product_id, time)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- Open and close go by trade_id, not by time: trades of one microsecond have an order too. The product of a price and a
-- size has 36 fraction digits and is kept whole.
CREATE MATERIALIZED VIEW IF NOT EXISTS candle_states_mv TO candle_states AS
SELECT
    interval,
    product_id,
    fromUnixTimestamp64Micro(intDiv(toUnixTimestamp64Micro(second.time), micros) * micros, 'UTC') AS time,
    argMinMergeState(second.open) AS open,
    max(second.high) AS high,
    min(second.low) AS low,
    argMaxMergeState(second.close) AS close,
    sum(second.volume) AS volume,
    sum(second.quote_volume) AS quote_volume,
    sum(second.buy_volume) AS buy_volume,
    sum(second.sell_volume) AS sell_volume,
    sum(second.trades) AS trades
FROM
(
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
    GROUP BY product_id, time
) AS second
ARRAY JOIN
    ['1s', '1m', '1h', '1d'] AS interval,
    [1000000, 60000000, 3600000000, 86400000000] AS micros
GROUP BY interval, product_id, time;
