-- Tables that hold what was confirmed: it is on disk before the consumer commits (fsync_*). Without it a power cut takes
-- the newest parts of some tables and leaves those of others. The deduplication windows are set for each kind of table
-- that a server may make where MergeTree is written here; `deno task migrate` raises them to what the configuration needs.
-- merge_selector_base: a tape writes several small parts a second into each table. By ClickHouse's usual base of 5 most of the
-- server's time goes into merging every handful of them; by 20 there are some more parts, and far fewer merges.

-- Every trade of the exchange, once: one row per (product_id, trade_id). Candles and all statistics of trades are
-- built from it. taker_side is the flip of the maker's side that Coinbase sends. REST knows neither sequence nor
-- order ids: 0 and NULL there. An order id that isn't a UUID is NULL too, and so are all that are older than
-- CLICKHOUSE_ORDER_ID_DAYS: they are most of a trade's bytes. batch names the insert (group/topic/partition/first-last offset). Readers: the candle views, the API, researchers.
CREATE TABLE IF NOT EXISTS trades
(
    product_id LowCardinality(String),
    trade_id UInt64 CODEC(Delta, ZSTD),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    price Decimal(38, 18) CODEC(GCD, ZSTD),
    size Decimal(38, 18) CODEC(GCD, ZSTD),
    taker_side Enum8('buy' = 1, 'sell' = 2),
    sequence UInt64 CODEC(Delta, ZSTD),
    maker_order_id Nullable(UUID) CODEC(ZSTD),
    taker_order_id Nullable(UUID) CODEC(ZSTD),
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
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;
