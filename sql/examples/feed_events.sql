-- What happened to the feed, newest first: connected, disconnected, silent, gap, buffer full, …
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)
-- param limit UInt32 = 100  (how many)

SELECT time, event, connection, product_id, channel, reason, details
FROM feed_events
WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')} + toIntervalMinute(1)
ORDER BY time DESC, kafka_partition, kafka_offset DESC
LIMIT {limit:UInt32};
