-- The native path (docs/kafka_engine.md): ClickHouse reads the topics itself, without consumer.ts. Not a migration: made by
-- `deno task migrate --kafka-engine`, dropped by `--no-kafka-engine`. Names in braces are filled in from KAFKA_*.

-- Each frame with its stamps, its fields as JSON texts, and why it is rejected (empty when it isn't). Keeps nothing: it
-- hands each block on to the views that write the tables. Frames are validated here once, and not in each of them.
CREATE TABLE IF NOT EXISTS kafka_engine_frames
(
    type LowCardinality(String),
    reason String,
    fields Map(String, String),
    value String,
    kafka_topic LowCardinality(String),
    received_at DateTime64(6, 'UTC'),
    source LowCardinality(String),
    connection LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64
)
ENGINE = Null;
