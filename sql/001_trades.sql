-- Every trade of the exchange, once: one row per (product_id, trade_id). Candles and all statistics of trades are
-- built from it. taker_side is the flip of the maker's side that Coinbase sends. REST knows neither sequence nor
-- order ids: 0 and empty there. batch names the insert (group/topic/partition/first-last offset). Readers: the candle views, API, Grafana, researchers.
CREATE TABLE IF NOT EXISTS trades
(
    product_id LowCardinality(String),
    trade_id UInt64 CODEC(Delta, ZSTD),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    price Decimal(38, 18) CODEC(ZSTD),
    size Decimal(38, 18) CODEC(ZSTD),
    taker_side Enum8('buy' = 1, 'sell' = 2),
    sequence UInt64 CODEC(Delta, ZSTD),
    maker_order_id String CODEC(ZSTD),
    taker_order_id String CODEC(ZSTD),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD),
    batch String CODEC(ZSTD),
    INDEX time_range time TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, trade_id)
SETTINGS non_replicated_deduplication_window = 10000;
