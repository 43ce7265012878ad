-- Which trade ids are stored, as runs without a gap: each insert of trades adds the runs of its own block, in the same
-- deduplicated insert. The consumer loads them to know what is stored already; rows of one batch share its name.
-- Readers: consumer.ts, the views trade_gaps and completeness.
CREATE TABLE IF NOT EXISTS trade_runs
(
    product_id LowCardinality(String),
    first_trade_id UInt64 CODEC(Delta, ZSTD),
    last_trade_id UInt64 CODEC(Delta, ZSTD),
    first_time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    last_time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    first_received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    last_received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    source LowCardinality(String),
    batch String CODEC(ZSTD)
)
ENGINE = MergeTree
ORDER BY (product_id, first_trade_id)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- Ids minus their rank are equal within a run and differ between runs.
CREATE MATERIALIZED VIEW IF NOT EXISTS trade_runs_mv TO trade_runs AS
SELECT
    product_id,
    min(trade_id) AS first_trade_id,
    max(trade_id) AS last_trade_id,
    argMin(ranked.time, trade_id) AS first_time,
    argMax(ranked.time, trade_id) AS last_time,
    min(received_at) AS first_received_at,
    max(received_at) AS last_received_at,
    source,
    any(ranked.batch) AS batch
FROM
(
    SELECT
        product_id,
        trade_id,
        time,
        received_at,
        source,
        batch,
        trade_id - row_number() OVER (PARTITION BY product_id, source ORDER BY trade_id) AS run
    FROM trades
) AS ranked
GROUP BY product_id, source, run;

-- The earliest and the newest heartbeat of each product, told by their own times: since when and until when they are stored
-- (a product without a trade is known too), and, of those that name a trade, how far the exchange's own numbering has come.
-- One odd heartbeat counts only until the next: neither the lowest nor the highest number that was ever sent says anything,
-- for a product's ids may begin again. is_numbered: they name a trade; last_trade_id 0 is "no trade known". Both kinds lie in
-- one table: a table more would be a part more in each insert.
-- Readers: the views completeness, trade_gaps and tape_gaps, doctor.
CREATE TABLE IF NOT EXISTS heartbeat_ends_state
(
    product_id LowCardinality(String),
    is_numbered Bool,
    earliest SimpleAggregateFunction(min, Tuple(
        time DateTime64(6, 'UTC'),
        last_trade_id UInt64,
        received_at DateTime64(6, 'UTC')
    )),
    newest SimpleAggregateFunction(max, Tuple(
        time DateTime64(6, 'UTC'),
        last_trade_id UInt64,
        received_at DateTime64(6, 'UTC')
    ))
)
ENGINE = AggregatingMergeTree
ORDER BY (product_id, is_numbered)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    replicated_deduplication_window_seconds = 604800, fsync_after_insert = 1, fsync_part_directory = 1,
    merge_selector_base = 20;

-- One row per product, kind and block.
CREATE MATERIALIZED VIEW IF NOT EXISTS heartbeat_ends_mv TO heartbeat_ends_state AS
SELECT
    product_id,
    heartbeats.last_trade_id > 0 AS is_numbered,
    min((heartbeats.time, heartbeats.last_trade_id, heartbeats.received_at)) AS earliest,
    max((heartbeats.time, heartbeats.last_trade_id, heartbeats.received_at)) AS newest
FROM heartbeats
GROUP BY product_id, is_numbered;
