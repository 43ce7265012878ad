-- How often REST proved that it doesn't have these ids: a row a range, both ends included; what a later row of more
-- proofs covers is overruled. A proof is an answer that was understood and lists older and newer trades around the ids.
-- When they are asked for again follows from these columns alone (lib/gaps/request_tracker.ts). Rows outlive the month of
-- asking, so that it doesn't begin anew. Readers: backfill.ts.
CREATE TABLE IF NOT EXISTS trade_gap_asks
(
    product_id LowCardinality(String),
    first_missing UInt64,
    last_missing UInt64,
    proofs SimpleAggregateFunction(max, UInt32),
    first_asked_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    asked_at SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (product_id, first_missing, last_missing)
TTL toDateTime(asked_at, 'UTC') + INTERVAL 90 DAY;

-- Ids that REST proved four times and more not to have, both ends included. They stay missing in trade_gaps and
-- completeness, and are asked for ever more rarely. Readers: the view trade_gaps, backfill.ts, doctor.
CREATE TABLE IF NOT EXISTS trade_gaps_given_up
(
    product_id LowCardinality(String),
    first_missing UInt64,
    last_missing UInt64,
    reason String,
    asked_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (product_id, first_missing)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
