-- The gaps that were filled from REST: which ids, when they were traded, and how long after that they were here.
CREATE OR REPLACE VIEW trade_fills AS
SELECT
    product_id,
    first_trade_id,
    last_trade_id,
    last_trade_id - first_trade_id + 1 AS trades,
    source,
    first_time AS traded_at,
    last_received_at AS filled_at,
    dateDiff('microsecond', first_time, last_received_at) / 1e6 AS seconds_to_fill
FROM trade_runs
WHERE source = 'backfill';
