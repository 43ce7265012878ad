-- Best bid and ask and the day's statistics after a match or a cascade of matches: as received, so with two
-- producers each stands once per connection. Where the exchange sent no time, time is received_at.
CREATE TABLE IF NOT EXISTS tickers
(
    product_id LowCardinality(String),
    sequence UInt64 CODEC(Delta, ZSTD),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    price Decimal(38, 18) CODEC(GCD, ZSTD),
    best_bid Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    best_bid_size Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    best_ask Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    best_ask_size Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    taker_side Nullable(Enum8('buy' = 1, 'sell' = 2)),
    trade_id Nullable(UInt64) CODEC(ZSTD),
    last_size Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    open_24h Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    high_24h Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    low_24h Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    volume_24h Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    volume_30d Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- One row per changed level of the order book; size 0 deletes the level. A snapshot starts the book anew: its rows
-- share one kafka_offset. position is the row's place in its message, so that the order of changes is kept.
CREATE TABLE IF NOT EXISTS book_changes
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    side Enum8('bid' = 1, 'ask' = 2),
    price Decimal(38, 18) CODEC(GCD, ZSTD),
    size Decimal(38, 18) CODEC(GCD, ZSTD),
    is_snapshot Bool,
    position UInt32 CODEC(Delta, ZSTD),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (product_id, time, kafka_offset, position)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- One a second and product. last_trade_id tells how far the exchange's own numbering of trades has come.
CREATE TABLE IF NOT EXISTS heartbeats
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    sequence UInt64 CODEC(Delta, ZSTD),
    last_trade_id UInt64 CODEC(Delta, ZSTD),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, time)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- The exchange repeats all products every few seconds; merges keep each product's newest row.
-- Reader: the view products.
CREATE TABLE IF NOT EXISTS products_state
(
    product_id LowCardinality(String),
    base_currency LowCardinality(String),
    quote_currency LowCardinality(String),
    base_increment Decimal(38, 18),
    quote_increment Decimal(38, 18),
    min_market_funds Nullable(Decimal(38, 18)),
    status LowCardinality(String),
    status_message String,
    display_name String,
    trading_disabled Bool,
    post_only Bool,
    limit_only Bool,
    cancel_only Bool,
    received_at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY product_id
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- What happened to the feed: connected, disconnected, product refused, gap seen, buffer full … An event that concerns
-- a product travels between the messages of that product, so kafka_partition and kafka_offset tell what it lies between.
CREATE TABLE IF NOT EXISTS feed_events
(
    time DateTime64(6, 'UTC'),
    event LowCardinality(String),
    product_id LowCardinality(String),
    channel LowCardinality(String),
    reason String,
    details String,
    received_at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, event)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- What failed validation, byte for byte, and why. Nothing is ever dropped silently. The raw bytes come as base64,
-- because JSON can't carry bytes that aren't UTF-8.
CREATE TABLE IF NOT EXISTS rejected
(
    reason String,
    raw_base64 String EPHEMERAL,
    raw String DEFAULT base64Decode(raw_base64) CODEC(ZSTD),
    kafka_topic LowCardinality(String),
    received_at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;
