-- How fast messages travel, by minute: from the exchange to the producer, and from there into ClickHouse.
-- param from DateTime64(6, 'UTC') = newest - 1h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

WITH
    quantilesExact(0.5, 0.99)((toUnixTimestamp64Micro(received_at) - toUnixTimestamp64Micro(time)) / 1000) AS to_producer,
    quantilesExact(0.5, 0.99)((toUnixTimestamp64Micro(ingested_at) - toUnixTimestamp64Micro(received_at)) / 1000) AS to_table
SELECT
    toStartOfMinute(time) AS minute,
    count() AS rows,
    to_producer[1] AS exchange_to_producer_p50_ms,
    to_producer[2] AS exchange_to_producer_p99_ms,
    to_table[1] AS producer_to_table_p50_ms,
    to_table[2] AS producer_to_table_p99_ms
FROM
(
    SELECT time, received_at, ingested_at
    FROM trades
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
        -- What REST filled is old when it comes.
        AND source != 'backfill'
    UNION ALL
    SELECT time, received_at, ingested_at
    FROM tickers
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
    UNION ALL
    SELECT time, received_at, ingested_at
    FROM heartbeats
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
    UNION ALL
    SELECT time, received_at, ingested_at
    FROM book_changes
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
)
GROUP BY minute
ORDER BY minute;
