-- The last change of each level in ten minutes, an hour and a day (UTC; time is their start), per connection. This ladder
-- makes the book of a past moment fast; all of it lies in one table, as the candles do. change numbers the changes of a
-- product and connection as they were received: kafka_offset * 2^20 + position. Readers: the views of the book.
CREATE TABLE IF NOT EXISTS book_levels
(
    interval LowCardinality(String),
    product_id LowCardinality(String),
    connection LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    side Enum8('bid' = 1, 'ask' = 2),
    price Decimal(38, 18) CODEC(GCD, ZSTD),
    size Decimal(38, 18) CODEC(GCD, ZSTD),
    change UInt64 CODEC(ZSTD)
)
ENGINE = ReplacingMergeTree(change)
PARTITION BY toYYYYMMDD(time)
ORDER BY (interval, product_id, connection, time, side, price)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- One row per interval, level and block.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_levels_mv TO book_levels AS
SELECT
    interval,
    product_id,
    connection,
    fromUnixTimestamp64Micro(intDiv(toUnixTimestamp64Micro(level.time), micros) * micros, 'UTC') AS time,
    side,
    price,
    argMax(level.size, level.change) AS size,
    max(level.change) AS change
FROM
(
    SELECT
        product_id,
        connection,
        toDateTime64(toStartOfInterval(book_changes.time, INTERVAL 10 MINUTE), 6, 'UTC') AS time,
        side,
        price,
        argMax(book_changes.size, kafka_offset * 1048576 + position) AS size,
        max(kafka_offset * 1048576 + position) AS change
    FROM book_changes
    GROUP BY product_id, connection, time, side, price
) AS level
ARRAY JOIN
    ['10m', '1h', '1d'] AS interval,
    [600000000, 3600000000, 86400000000] AS micros
GROUP BY interval, product_id, connection, time, side, price;

-- Every snapshot of a book: where an epoch starts. Reader: the view book_epochs.
CREATE TABLE IF NOT EXISTS book_snapshots
(
    product_id LowCardinality(String),
    connection LowCardinality(String),
    kafka_offset UInt64,
    time DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    levels UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (product_id, connection, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- The rows of a snapshot share one kafka_offset and one block.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_snapshots_mv TO book_snapshots AS
SELECT
    product_id,
    connection,
    kafka_offset,
    min(book_changes.time) AS time,
    min(book_changes.received_at) AS received_at,
    count() AS levels
FROM book_changes
WHERE is_snapshot
GROUP BY product_id, connection, kafka_offset;

-- How far each connection's book is stored, by the exchange's clock. Reader: the view book_epochs.
CREATE TABLE IF NOT EXISTS book_connections_state
(
    product_id LowCardinality(String),
    connection LowCardinality(String),
    last_time SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (product_id, connection)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- One row per product, connection and block.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_connections_mv TO book_connections_state AS
SELECT product_id, connection, max(time) AS last_time
FROM book_changes
GROUP BY product_id, connection;

-- Frames of the book that were lost although the connection lived: too large for the broker, or rejected. The book is wrong
-- from there to the connection's next snapshot. product_id is empty where the frame couldn't be read at all: any product of
-- the connection may be meant. time is the frame's; where that isn't known a second before it was received.
-- Reader: the view book_epochs.
CREATE TABLE IF NOT EXISTS book_losses
(
    product_id LowCardinality(String),
    connection LowCardinality(String),
    time DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    reason String
)
ENGINE = MergeTree
ORDER BY (connection, received_at)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- Too large: the event's details name the type.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_losses_too_large_mv TO book_losses AS
SELECT
    product_id,
    connection,
    feed_events.received_at - INTERVAL 1 SECOND AS time,
    received_at,
    reason
FROM feed_events
WHERE event = 'frame_too_large' AND JSONExtractString(details, 'type') IN ('snapshot', 'l2update');

-- Rejected: a snapshot or update that failed validation, or what isn't JSON and could be one.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_losses_rejected_mv TO book_losses AS
SELECT
    JSONExtractString(raw, 'product_id') AS product_id,
    connection,
    if(
        parseDateTime64BestEffortOrZero(JSONExtractString(raw, 'time'), 6, 'UTC') AS frame_time >= '1971-01-01',
        frame_time,
        rejected.received_at - INTERVAL 1 SECOND
    ) AS time,
    received_at,
    reason
FROM rejected
WHERE NOT isValidJSON(raw) OR JSONExtractString(raw, 'type') IN ('snapshot', 'l2update');

-- Lost between the exchange and the table: what the topic no longer held when it was to be read. A book that would go on
-- across the loss ends with its last stored change.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_losses_topic_mv TO book_losses AS
SELECT
    product_id,
    connection,
    feed_events.time + INTERVAL 1 MICROSECOND AS time,
    received_at,
    reason
FROM feed_events
WHERE event = 'messages_lost' AND connection != '';

-- The history of a book's liquidity, second by second: what book_depth_1s_between said when it was asked. A depth needs the
-- whole book, so no materialized view can fill it; a task does, for the minutes before:
--   INSERT INTO book_depth_1s_state (* EXCEPT computed_at) SELECT * FROM book_depth_1s_between(product = …, from = …, to = …)
-- Filled again, the newer row of a second counts. Reader: the view book_depth_1s.
CREATE TABLE IF NOT EXISTS book_depth_1s_state
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    best_bid Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    best_bid_size Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    best_ask Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    best_ask_size Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    mid Nullable(Decimal(76, 19)) CODEC(GCD, ZSTD),
    spread Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    spread_bps Nullable(Float64) CODEC(ZSTD),
    microprice Nullable(Decimal(38, 18)) CODEC(GCD, ZSTD),
    imbalance Nullable(Float64) CODEC(ZSTD),
    bid_base_10bps Decimal(38, 18) CODEC(GCD, ZSTD),
    bid_quote_10bps Decimal(76, 36) CODEC(GCD, ZSTD),
    ask_base_10bps Decimal(38, 18) CODEC(GCD, ZSTD),
    ask_quote_10bps Decimal(76, 36) CODEC(GCD, ZSTD),
    imbalance_10bps Nullable(Float64) CODEC(ZSTD),
    bid_base_50bps Decimal(38, 18) CODEC(GCD, ZSTD),
    bid_quote_50bps Decimal(76, 36) CODEC(GCD, ZSTD),
    ask_base_50bps Decimal(38, 18) CODEC(GCD, ZSTD),
    ask_quote_50bps Decimal(76, 36) CODEC(GCD, ZSTD),
    imbalance_50bps Nullable(Float64) CODEC(ZSTD),
    bid_base_100bps Decimal(38, 18) CODEC(GCD, ZSTD),
    bid_quote_100bps Decimal(76, 36) CODEC(GCD, ZSTD),
    ask_base_100bps Decimal(38, 18) CODEC(GCD, ZSTD),
    ask_quote_100bps Decimal(76, 36) CODEC(GCD, ZSTD),
    imbalance_100bps Nullable(Float64) CODEC(ZSTD),
    computed_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, time);
