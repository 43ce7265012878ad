-- The quoted spread of a product, second by second, from tickers: spreads_1s(product = …, from = …, to = …), all seconds
-- s with from <= s < to that hold a quote. A quote holds until the next one of its connection, at most 60 s, so the last
-- quote before a second holds at its start. bid, ask and mid are averages weighted by time, cut to 18 digits; spread_bps is
-- that of each quote's spread relative to its mid. One connection is read for each second: the one with most quotes in it
-- (the first by name where equal). covered is the part of the second in which a quote held.
-- Readers: Grafana, the API, anomalies.
CREATE VIEW IF NOT EXISTS spreads_1s AS
SELECT
    {product:String} AS product_id,
    second AS time,
    best.1 AS bid,
    best.2 AS ask,
    best.3 AS mid,
    best.4 AS spread_bps,
    best.5 AS quotes,
    best.6 AS covered,
    best.7 AS connection
FROM
(
    SELECT second, argMin(seconds, (-quotes, connection)) AS best
    FROM
    (
        SELECT
            second,
            connection,
            count() AS quotes,
            sum(own_us) + sum(before_us) AS held_us,
            -- A decimal divided by a whole number keeps its scale and is cut. divideDecimal does the same at many times the cost.
            CAST(sum(toDecimal256(bid, 18) * own_us + toDecimal256(bid_before, 18) * before_us) / held_us
                AS Decimal(38, 18)) AS bid_held,
            CAST(sum(toDecimal256(ask, 18) * own_us + toDecimal256(ask_before, 18) * before_us) / held_us
                AS Decimal(38, 18)) AS ask_held,
            CAST(sum(toDecimal256(bid + ask, 18) * own_us + toDecimal256(bid_before + ask_before, 18) * before_us)
                / (2 * held_us) AS Decimal(38, 18)) AS mid_held,
            sum(own_us * 20000 * toFloat64(ask - bid) / toFloat64(bid + ask)
                + if(before_us = 0, 0,
                    before_us * 20000 * toFloat64(ask_before - bid_before) / toFloat64(bid_before + ask_before)))
                / held_us AS bps_held,
            (bid_held, ask_held, mid_held, bps_held, quotes, held_us / 1e6, connection) AS seconds
        FROM
        (
            SELECT
                connection,
                best_bid AS bid,
                best_ask AS ask,
                toDateTime64(toStartOfSecond(time), 6, 'UTC') AS second,
                lagInFrame(best_bid) OVER received AS bid_before,
                lagInFrame(best_ask) OVER received AS ask_before,
                toUnixTimestamp64Micro(time) AS at_us,
                toUnixTimestamp64Micro(second) AS second_us,
                lagInFrame(at_us, 1, 0) OVER received AS before_at_us,
                leadInFrame(at_us, 1, second_us + 1000000) OVER received AS next_us,
                least(next_us, second_us + 1000000) - at_us AS own_us,
                -- How long the quote before held in this second.
                if(before_at_us < second_us, greatest(0, least(at_us, before_at_us + 60000000) - second_us), 0) AS before_us
            FROM
            (
                SELECT
                    connection,
                    time,
                    kafka_offset,
                    assumeNotNull(best_bid) AS best_bid,
                    assumeNotNull(best_ask) AS best_ask
                FROM tickers
                WHERE product_id = {product:String}
                    AND time >= {from:DateTime64(6, 'UTC')} - INTERVAL 61 SECOND
                    AND time < {to:DateTime64(6, 'UTC')} + INTERVAL 1 SECOND
                    AND tickers.best_bid > 0 AND tickers.best_ask > 0
            )
            WINDOW received AS
            (
                PARTITION BY connection
                ORDER BY time, kafka_offset
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            )
        )
        WHERE second >= {from:DateTime64(6, 'UTC')} AND second < {to:DateTime64(6, 'UTC')}
        GROUP BY second, connection
    )
    GROUP BY second
)
ORDER BY time;

-- The last change of each level in ten minutes (time is their start), per connection. This ladder makes the book of a past
-- moment fast. change numbers the changes of a product and connection as they were received: kafka_offset * 2^20 + position.
-- Readers: the views of the book.
CREATE TABLE IF NOT EXISTS book_levels_10m
(
    product_id LowCardinality(String),
    connection LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    side Enum8('bid' = 1, 'ask' = 2),
    price Decimal(38, 18) CODEC(ZSTD),
    size Decimal(38, 18) CODEC(ZSTD),
    change UInt64 CODEC(ZSTD)
)
ENGINE = ReplacingMergeTree(change)
PARTITION BY toYYYYMMDD(time)
ORDER BY (product_id, connection, time, side, price)
SETTINGS non_replicated_deduplication_window = 10000;

-- The last change of each level in an hour (UTC), per connection.
CREATE TABLE IF NOT EXISTS book_levels_1h
(
    product_id LowCardinality(String),
    connection LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    side Enum8('bid' = 1, 'ask' = 2),
    price Decimal(38, 18) CODEC(ZSTD),
    size Decimal(38, 18) CODEC(ZSTD),
    change UInt64 CODEC(ZSTD)
)
ENGINE = ReplacingMergeTree(change)
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, connection, time, side, price)
SETTINGS non_replicated_deduplication_window = 10000;

-- The last change of each level in a day (UTC), per connection.
CREATE TABLE IF NOT EXISTS book_levels_1d
(
    product_id LowCardinality(String),
    connection LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    side Enum8('bid' = 1, 'ask' = 2),
    price Decimal(38, 18) CODEC(ZSTD),
    size Decimal(38, 18) CODEC(ZSTD),
    change UInt64 CODEC(ZSTD)
)
ENGINE = ReplacingMergeTree(change)
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, connection, time, side, price)
SETTINGS non_replicated_deduplication_window = 10000;

-- One row per level and block.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_levels_10m_mv TO book_levels_10m AS
SELECT
    product_id,
    connection,
    toDateTime64(toStartOfInterval(book_changes.time, INTERVAL 10 MINUTE), 6, 'UTC') AS time,
    side,
    price,
    argMax(book_changes.size, kafka_offset * 1048576 + position) AS size,
    max(kafka_offset * 1048576 + position) AS change
FROM book_changes
GROUP BY product_id, connection, time, side, price;

-- From ten minutes to the hour.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_levels_1h_mv TO book_levels_1h AS
SELECT
    product_id,
    connection,
    toDateTime64(toStartOfHour(source.time), 6, 'UTC') AS time,
    side,
    price,
    argMax(source.size, source.change) AS size,
    max(source.change) AS change
FROM book_levels_10m AS source
GROUP BY product_id, connection, time, side, price;

-- From the hour to the day.
CREATE MATERIALIZED VIEW IF NOT EXISTS book_levels_1d_mv TO book_levels_1d AS
SELECT
    product_id,
    connection,
    toDateTime64(toStartOfDay(source.time), 6, 'UTC') AS time,
    side,
    price,
    argMax(source.size, source.change) AS size,
    max(source.change) AS change
FROM book_levels_1h AS source
GROUP BY product_id, connection, time, side, price;

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
SETTINGS non_replicated_deduplication_window = 10000;

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
SETTINGS non_replicated_deduplication_window = 10000;

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
SETTINGS non_replicated_deduplication_window = 10000;

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

-- When the book of a product is known, per connection: from a snapshot (valid_from) to the last change that is stored before
-- the connection's end, to its next snapshot, or to a lost frame (valid_to, both included, the exchange's clock). Outside of
-- all epochs the views of the book are empty. ended_by says why it ends: snapshot, disconnected, lost frame, or open: no end
-- is known, the connection goes on or its producer was killed. reason is what the producer said. first_change is the
-- number of the snapshot's first row (book_levels_10m.change).
-- Readers: the views of the book, Grafana, people who ask why a book is empty.
CREATE VIEW IF NOT EXISTS book_epochs AS
SELECT
    product_id,
    connection,
    valid_from,
    if(ended_by = 'lost frame', least(stored_to, loss.2 - INTERVAL 1 MICROSECOND), stored_to) AS valid_to,
    multiIf(
        toUnixTimestamp64Micro(loss.1) != 0, 'lost frame',
        has_next, 'snapshot',
        disconnected, 'disconnected',
        'open'
    ) AS ended_by,
    multiIf(ended_by = 'lost frame', loss.3, ended_by = 'disconnected', reason_of_end, '') AS reason,
    levels,
    first_change
FROM
(
    SELECT
        snapshots.product_id AS product_id,
        snapshots.connection AS connection,
        snapshots.time AS valid_from,
        if(has_next, next_time - INTERVAL 1 MICROSECOND, stored.last_time) AS stored_to,
        snapshots.has_next AS has_next,
        snapshots.levels AS levels,
        snapshots.kafka_offset * 1048576 AS first_change,
        ends.known AS disconnected,
        ends.reason AS reason_of_end,
        -- The first loss after the snapshot and before the next one, in the order of arrival; empty values where there is none.
        arrayFirst(
            lost -> lost.1 >= snapshots.received_at
                AND (NOT snapshots.has_next OR lost.1 < snapshots.next_received_at)
                AND lost.4 IN ('', snapshots.product_id),
            losses.list
        ) AS loss
    FROM
    (
        SELECT
            product_id,
            connection,
            kafka_offset,
            time,
            received_at,
            levels,
            leadInFrame(true, 1, false) OVER later AS has_next,
            leadInFrame(time) OVER later AS next_time,
            leadInFrame(received_at) OVER later AS next_received_at
        FROM book_snapshots FINAL
        WINDOW later AS
        (
            PARTITION BY product_id, connection
            ORDER BY kafka_offset
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        )
    ) AS snapshots
    LEFT JOIN
    (
        SELECT product_id, connection, max(state.last_time) AS last_time
        FROM book_connections_state AS state
        GROUP BY product_id, connection
    ) AS stored ON stored.product_id = snapshots.product_id AND stored.connection = snapshots.connection
    LEFT JOIN
    (
        SELECT product_id, connection, true AS known, any(feed_events.reason) AS reason
        FROM feed_events
        WHERE event = 'disconnected'
        GROUP BY product_id, connection
    ) AS ends ON ends.product_id = snapshots.product_id AND ends.connection = snapshots.connection
    LEFT JOIN
    (
        SELECT connection, arraySort(groupArray((received_at, time, reason, product_id))) AS list
        FROM book_losses
        GROUP BY connection
    ) AS losses ON losses.connection = snapshots.connection
);

-- The epoch in which the book of a product is read at a moment: of those that hold it the one with the newest snapshot.
-- One row, or none where the book isn't known. Readers: the views of the book.
CREATE VIEW IF NOT EXISTS book_epoch_at AS
SELECT *
FROM book_epochs
WHERE product_id = {product:String}
    AND valid_from <= {at:DateTime64(6, 'UTC')}
    AND valid_to >= {at:DateTime64(6, 'UTC')}
ORDER BY valid_from DESC, connection
LIMIT 1;

-- All levels of a product's book at a moment, in no order: book_levels_at(product = …, at = …). The last change of each
-- level since the epoch's snapshot, as received, among the changes whose time is not after `at`: whole days, hours and
-- ten minutes from their states, the rest from the changes. Readers: the views of the book.
CREATE VIEW IF NOT EXISTS book_levels_at AS
WITH
    -- Connection, first change, and whether there is an epoch: an aggregate has a row in any case.
    (
        SELECT (any(CAST(connection AS String)), any(first_change), count())
        FROM book_epoch_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
    ) AS epoch
SELECT side, price, argMax(changes.size, change) AS size
FROM
(
    SELECT side, price, size, change
    FROM book_levels_1d
    WHERE product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time < toStartOfDay({at:DateTime64(6, 'UTC')})
    UNION ALL
    SELECT side, price, size, change
    FROM book_levels_1h
    WHERE product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time >= toStartOfDay({at:DateTime64(6, 'UTC')}) AND time < toStartOfHour({at:DateTime64(6, 'UTC')})
    UNION ALL
    SELECT side, price, size, change
    FROM book_levels_10m
    WHERE product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time >= toStartOfHour({at:DateTime64(6, 'UTC')})
        AND time < toStartOfInterval({at:DateTime64(6, 'UTC')}, INTERVAL 10 MINUTE)
    UNION ALL
    SELECT side, price, size, kafka_offset * 1048576 + position AS change
    FROM book_changes
    WHERE product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time >= toStartOfInterval({at:DateTime64(6, 'UTC')}, INTERVAL 10 MINUTE)
        AND time <= {at:DateTime64(6, 'UTC')}
) AS changes
GROUP BY side, price
HAVING size > 0;

-- The best levels of a product's book at a moment: book_at(product = …, at = …, depth = …), best first, level 1 is the
-- best. Empty where the book isn't known: see book_epochs. Readers: the API, Grafana, researchers.
CREATE VIEW IF NOT EXISTS book_at AS
SELECT side, level, price, size
FROM
(
    SELECT
        side,
        price,
        size,
        row_number() OVER (PARTITION BY side ORDER BY if(side = 'bid', -price, price)) AS level
    FROM book_levels_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
)
WHERE level <= {depth:UInt32}
ORDER BY side, level;

-- The epoch of a product's newest stored change, while its connection goes on. One row or none. Reader: the view book_now.
CREATE VIEW IF NOT EXISTS book_epoch_now AS
SELECT *
FROM
(
    SELECT *
    FROM book_epochs
    WHERE product_id = {product:String}
    ORDER BY valid_to DESC, valid_from DESC, connection
    LIMIT 1
)
WHERE ended_by = 'open';

-- The newest known book of a product, as book_at: book_now(product = …, depth = …). time is its last change: how old the
-- book is. Empty while no connection has a book. The states of the days are always complete, so the changes themselves
-- aren't read. Readers: the API, Grafana.
CREATE VIEW IF NOT EXISTS book_now AS
WITH
    (
        SELECT (any(CAST(connection AS String)), any(first_change), count(), any(valid_to))
        FROM book_epoch_now(product = {product:String})
    ) AS epoch
SELECT side, level, price, size, epoch.4 AS time
FROM
(
    SELECT
        side,
        price,
        argMax(levels.size, change) AS size,
        row_number() OVER (PARTITION BY side ORDER BY if(side = 'bid', -price, price)) AS level
    FROM book_levels_1d AS levels
    WHERE product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
    GROUP BY side, price
    HAVING size > 0
)
WHERE level <= {depth:UInt32}
ORDER BY side, level;

-- The liquidity of a product's book at a moment: book_depth_at(product = …, at = …). One row, or none where the book isn't
-- known; NULL where a side is empty. mid is exact, microprice is cut to 18 digits. Depth within 10, 50 and 100 bps of mid,
-- both ends included, in base and in quote currency. Formulas with their sources: docs/order_book.md.
-- Readers: the API, Grafana, researchers.
CREATE VIEW IF NOT EXISTS book_depth_at AS
SELECT
    {product:String} AS product_id,
    {at:DateTime64(6, 'UTC')} AS time,
    any(bid) AS best_bid,
    any(bid_size) AS best_bid_size,
    any(ask) AS best_ask,
    any(ask_size) AS best_ask_size,
    any(twice_mid) * toDecimal256('0.5', 1) AS mid,
    best_ask - best_bid AS spread,
    20000 * toFloat64(spread) / toFloat64(any(twice_mid)) AS spread_bps,
    CAST(divideDecimal(
        toDecimal256(best_bid, 18) * toDecimal256(best_ask_size, 18)
            + toDecimal256(best_ask, 18) * toDecimal256(best_bid_size, 18),
        toDecimal256(ifNull(best_bid_size + best_ask_size, 1), 18), 18) AS Nullable(Decimal(38, 18))) AS microprice,
    toFloat64(best_bid_size - best_ask_size) / toFloat64(best_bid_size + best_ask_size) AS imbalance,
    sumIf(size, side = 'bid' AND distance <= 10 * twice_mid) AS bid_base_10bps,
    sumIf(quote, side = 'bid' AND distance <= 10 * twice_mid) AS bid_quote_10bps,
    sumIf(size, side = 'ask' AND distance <= 10 * twice_mid) AS ask_base_10bps,
    sumIf(quote, side = 'ask' AND distance <= 10 * twice_mid) AS ask_quote_10bps,
    toFloat64(bid_base_10bps - ask_base_10bps) / nullIf(toFloat64(bid_base_10bps + ask_base_10bps), 0)
        AS imbalance_10bps,
    sumIf(size, side = 'bid' AND distance <= 50 * twice_mid) AS bid_base_50bps,
    sumIf(quote, side = 'bid' AND distance <= 50 * twice_mid) AS bid_quote_50bps,
    sumIf(size, side = 'ask' AND distance <= 50 * twice_mid) AS ask_base_50bps,
    sumIf(quote, side = 'ask' AND distance <= 50 * twice_mid) AS ask_quote_50bps,
    toFloat64(bid_base_50bps - ask_base_50bps) / nullIf(toFloat64(bid_base_50bps + ask_base_50bps), 0)
        AS imbalance_50bps,
    sumIf(size, side = 'bid' AND distance <= 100 * twice_mid) AS bid_base_100bps,
    sumIf(quote, side = 'bid' AND distance <= 100 * twice_mid) AS bid_quote_100bps,
    sumIf(size, side = 'ask' AND distance <= 100 * twice_mid) AS ask_base_100bps,
    sumIf(quote, side = 'ask' AND distance <= 100 * twice_mid) AS ask_quote_100bps,
    toFloat64(bid_base_100bps - ask_base_100bps) / nullIf(toFloat64(bid_base_100bps + ask_base_100bps), 0)
        AS imbalance_100bps
FROM
(
    SELECT
        side,
        price,
        size,
        maxOrNullIf(price, side = 'bid') OVER () AS bid,
        minOrNullIf(price, side = 'ask') OVER () AS ask,
        argMaxOrNullIf(size, price, side = 'bid') OVER () AS bid_size,
        argMinOrNullIf(size, price, side = 'ask') OVER () AS ask_size,
        toDecimal256(bid, 18) + toDecimal256(ask, 18) AS twice_mid,
        -- How far from mid, times 20000: whole numbers decide what lies within n bps, distance <= n * twice_mid.
        20000 * toDecimal256(price, 18) - 10000 * twice_mid AS above,
        if(side = 'bid', -above, above) AS distance,
        toDecimal256(price, 18) * toDecimal256(size, 18) AS quote
    FROM book_levels_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
)
HAVING count() > 0;

-- What a market order of a size (base currency) would have cost against the book of a moment:
-- market_order_cost(product = …, at = …, side = 'buy' or 'sell', size = …). A buy takes the asks from the best up, a sell
-- the bids from the best down. available is what the whole side holds. The rest is NULL when that is less than size, or size
-- isn't positive: average_price (cut to 18 digits), worst_price, cost (quote currency, exact), levels touched, and
-- slippage_bps, how much worse than mid the average price is. No row where the book isn't known. Fees aren't part of it.
-- Readers: the API, Grafana, researchers.
CREATE VIEW IF NOT EXISTS market_order_cost AS
SELECT
    {product:String} AS product_id,
    {at:DateTime64(6, 'UTC')} AS time,
    {side:Enum8('buy' = 1, 'sell' = 2)} AS side,
    {size:Decimal(38, 18)} AS size,
    sumIf(level_size, is_taken) AS available,
    if({size:Decimal(38, 18)} > 0 AND available >= {size:Decimal(38, 18)},
        sumIf(toDecimal256(price, 18) * toDecimal256(taken, 18), is_taken), NULL) AS cost,
    CAST(divideDecimal(cost, toDecimal256(if({size:Decimal(38, 18)} > 0, {size:Decimal(38, 18)}, 1), 18), 18)
        AS Nullable(Decimal(38, 18))) AS average_price,
    if(cost IS NULL, NULL,
        if(side = 'buy', maxIf(price, is_taken AND taken > 0), minIf(price, is_taken AND taken > 0))) AS worst_price,
    if(cost IS NULL, NULL, countIf(is_taken AND taken > 0)) AS levels,
    -- (average price / mid - 1) without rounding the two first.
    if(side = 'buy', 1, -1) * 10000 * toFloat64(2 * cost - any(twice_mid) * toDecimal256({size:Decimal(38, 18)}, 18))
        / toFloat64(any(twice_mid) * toDecimal256({size:Decimal(38, 18)}, 18)) AS slippage_bps
FROM
(
    SELECT
        price,
        level_size,
        is_taken,
        sum(level_size) OVER
        (
            PARTITION BY is_taken
            ORDER BY if({side:Enum8('buy' = 1, 'sell' = 2)} = 'buy', price, -price)
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS through,
        greatest(0, least(level_size, {size:Decimal(38, 18)} - (through - level_size))) AS taken,
        toDecimal256(maxOrNullIf(price, level_side = 'bid') OVER (), 18)
            + toDecimal256(minOrNullIf(price, level_side = 'ask') OVER (), 18) AS twice_mid
    FROM
    (
        SELECT
            side AS level_side,
            price,
            size AS level_size,
            level_side = if({side:Enum8('buy' = 1, 'sell' = 2)} = 'buy', 'ask', 'bid') AS is_taken
        FROM book_levels_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
    )
)
HAVING count() > 0;

-- The liquidity of a product's book at the start of each second s with from <= s < to, in the columns of book_depth_at, for
-- the seconds in which the book is known: book_depth_1s_between(product = …, from = …, to = …). Each level's life is
-- spread over the seconds, so a call is meant for minutes, not for days. Levels that can't be best in any second, nor within
-- 100 bps, are left out first. Reader: what fills book_depth_1s.
CREATE VIEW IF NOT EXISTS book_depth_1s_between AS
WITH
    -- The epoch of each second: as book_epoch_at.
    wanted AS
    (
        SELECT second, argMin((connection, first_change), (-toUnixTimestamp64Micro(valid_from), connection)) AS epoch
        FROM
        (
            SELECT
                connection,
                first_change,
                valid_from,
                -- The seconds that begin in the epoch and in the range: to the next whole second where one is cut.
                arrayJoin(range(
                    toUInt32(intDiv(toUnixTimestamp64Micro(
                        greatest(valid_from, {from:DateTime64(6, 'UTC')})) + 999999, 1000000)),
                    toUInt32(intDiv(toUnixTimestamp64Micro(
                        least(valid_to + INTERVAL 1 MICROSECOND, {to:DateTime64(6, 'UTC')})) + 999999, 1000000))
                )) AS second
            FROM book_epochs
            WHERE product_id = {product:String}
                AND valid_from < {to:DateTime64(6, 'UTC')} AND valid_to >= {from:DateTime64(6, 'UTC')}
        )
        GROUP BY second
    ),
    epochs AS
    (
        SELECT epoch.1 AS connection, epoch.2 AS first_change, min(second) AS first_second, max(second) AS last_second,
            groupArray(second) AS seconds
        FROM wanted
        GROUP BY epoch
    ),
    changes AS
    (
        SELECT connection, side, price, size, change, 0 AS second
        FROM book_levels_1d
        WHERE product_id = {product:String} AND connection IN (SELECT connection FROM epochs)
            AND time < toStartOfDay({from:DateTime64(6, 'UTC')})
        UNION ALL
        SELECT connection, side, price, size, change, 0 AS second
        FROM book_levels_1h
        WHERE product_id = {product:String} AND connection IN (SELECT connection FROM epochs)
            AND time >= toStartOfDay({from:DateTime64(6, 'UTC')}) AND time < toStartOfHour({from:DateTime64(6, 'UTC')})
        UNION ALL
        SELECT connection, side, price, size, change, 0 AS second
        FROM book_levels_10m
        WHERE product_id = {product:String} AND connection IN (SELECT connection FROM epochs)
            AND time >= toStartOfHour({from:DateTime64(6, 'UTC')})
            AND time < toStartOfInterval({from:DateTime64(6, 'UTC')}, INTERVAL 10 MINUTE)
        UNION ALL
        -- The first second that begins with this change, or after it.
        SELECT connection, side, price, size, kafka_offset * 1048576 + position AS change,
            toUInt32(intDiv(toUnixTimestamp64Micro(time) + 999999, 1000000)) AS second
        FROM book_changes
        WHERE product_id = {product:String} AND connection IN (SELECT connection FROM epochs)
            AND time >= toStartOfInterval({from:DateTime64(6, 'UTC')}, INTERVAL 10 MINUTE)
            AND time < {to:DateTime64(6, 'UTC')}
    ),
    -- How long each size of a level held: seconds begin <= s < end. A change that came later wins, whatever its time.
    lives AS
    (
        SELECT
            epoch_connection,
            epoch_start,
            first_second,
            last_second,
            side,
            price,
            argMax(last_size, last_change) OVER (level ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS size,
            begin,
            leadInFrame(begin, 1, toUInt32(last_second + 1))
                OVER (level ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS end
        FROM
        (
            SELECT
                epochs.connection AS epoch_connection,
                epochs.first_change AS epoch_start,
                any(epochs.first_second) AS first_second,
                any(epochs.last_second) AS last_second,
                side,
                price,
                greatest(changes.second, epochs.first_second) AS begin,
                argMax(changes.size, changes.change) AS last_size,
                max(changes.change) AS last_change
            FROM changes
            INNER JOIN epochs ON epochs.connection = changes.connection
            WHERE changes.change >= epochs.first_change AND changes.second <= epochs.last_second
            GROUP BY epoch_connection, epoch_start, side, price, begin
        )
        WINDOW level AS (PARTITION BY epoch_connection, epoch_start, side, price ORDER BY begin)
    ),
    near AS
    (
        SELECT epoch_connection, epoch_start, side, price, size, begin, end
        FROM
        (
            SELECT
                *,
                begin = first_second AND end > last_second AS stays,
                -- The best bid is never below the best of those that stay, the best ask never above: so mid has bounds.
                toDecimal256(maxOrNullIf(price, side = 'bid' AND stays) OVER epoch, 18) AS bid_floor,
                toDecimal256(minOrNullIf(price, side = 'ask' AND stays) OVER epoch, 18) AS ask_ceiling,
                toDecimal256(maxOrNullIf(price, side = 'bid') OVER epoch, 18) AS highest_bid,
                toDecimal256(minOrNullIf(price, side = 'ask') OVER epoch, 18) AS lowest_ask
            FROM lives
            WHERE size > 0
            WINDOW epoch AS (PARTITION BY epoch_connection, epoch_start)
        )
        WHERE if(
            side = 'bid',
            ifNull(price >= bid_floor OR 200 * toDecimal256(price, 18) >= (bid_floor + lowest_ask) * 99, true),
            ifNull(price <= ask_ceiling OR 200 * toDecimal256(price, 18) <= (ask_ceiling + highest_bid) * 101, true)
        )
    )
SELECT
    {product:String} AS product_id,
    toDateTime64(second, 6, 'UTC') AS time,
    any(bid) AS best_bid,
    any(bid_size) AS best_bid_size,
    any(ask) AS best_ask,
    any(ask_size) AS best_ask_size,
    any(twice_mid) * toDecimal256('0.5', 1) AS mid,
    best_ask - best_bid AS spread,
    20000 * toFloat64(spread) / toFloat64(any(twice_mid)) AS spread_bps,
    CAST(divideDecimal(
        toDecimal256(best_bid, 18) * toDecimal256(best_ask_size, 18)
            + toDecimal256(best_ask, 18) * toDecimal256(best_bid_size, 18),
        toDecimal256(ifNull(best_bid_size + best_ask_size, 1), 18), 18) AS Nullable(Decimal(38, 18))) AS microprice,
    toFloat64(best_bid_size - best_ask_size) / toFloat64(best_bid_size + best_ask_size) AS imbalance,
    sumIf(size, side = 'bid' AND distance <= 10 * twice_mid) AS bid_base_10bps,
    sumIf(quote, side = 'bid' AND distance <= 10 * twice_mid) AS bid_quote_10bps,
    sumIf(size, side = 'ask' AND distance <= 10 * twice_mid) AS ask_base_10bps,
    sumIf(quote, side = 'ask' AND distance <= 10 * twice_mid) AS ask_quote_10bps,
    toFloat64(bid_base_10bps - ask_base_10bps) / nullIf(toFloat64(bid_base_10bps + ask_base_10bps), 0)
        AS imbalance_10bps,
    sumIf(size, side = 'bid' AND distance <= 50 * twice_mid) AS bid_base_50bps,
    sumIf(quote, side = 'bid' AND distance <= 50 * twice_mid) AS bid_quote_50bps,
    sumIf(size, side = 'ask' AND distance <= 50 * twice_mid) AS ask_base_50bps,
    sumIf(quote, side = 'ask' AND distance <= 50 * twice_mid) AS ask_quote_50bps,
    toFloat64(bid_base_50bps - ask_base_50bps) / nullIf(toFloat64(bid_base_50bps + ask_base_50bps), 0)
        AS imbalance_50bps,
    sumIf(size, side = 'bid' AND distance <= 100 * twice_mid) AS bid_base_100bps,
    sumIf(quote, side = 'bid' AND distance <= 100 * twice_mid) AS bid_quote_100bps,
    sumIf(size, side = 'ask' AND distance <= 100 * twice_mid) AS ask_base_100bps,
    sumIf(quote, side = 'ask' AND distance <= 100 * twice_mid) AS ask_quote_100bps,
    toFloat64(bid_base_100bps - ask_base_100bps) / nullIf(toFloat64(bid_base_100bps + ask_base_100bps), 0)
        AS imbalance_100bps
FROM
(
    SELECT
        second,
        side,
        price,
        size,
        maxOrNullIf(price, side = 'bid') OVER (PARTITION BY second) AS bid,
        minOrNullIf(price, side = 'ask') OVER (PARTITION BY second) AS ask,
        argMaxOrNullIf(size, price, side = 'bid') OVER (PARTITION BY second) AS bid_size,
        argMinOrNullIf(size, price, side = 'ask') OVER (PARTITION BY second) AS ask_size,
        toDecimal256(bid, 18) + toDecimal256(ask, 18) AS twice_mid,
        -- How far from mid, times 20000: whole numbers decide what lies within n bps, distance <= n * twice_mid.
        20000 * toDecimal256(price, 18) - 10000 * twice_mid AS above,
        if(side = 'bid', -above, above) AS distance,
        toDecimal256(price, 18) * toDecimal256(size, 18) AS quote
    FROM
    (
        SELECT (epoch_connection, epoch_start) AS epoch, side, price, size, arrayJoin(range(begin, end)) AS second
        FROM near
    )
    WHERE (second, epoch) IN (SELECT second, epoch FROM wanted)
)
GROUP BY second
ORDER BY time;

-- The history of a book's liquidity, second by second: what book_depth_1s_between said when it was asked. A depth needs the
-- whole book, so no materialized view can fill it; a task does, for the minutes before:
--   INSERT INTO book_depth_1s_state (* EXCEPT computed_at) SELECT * FROM book_depth_1s_between(product = …, from = …, to = …)
-- Filled again, the newer row of a second counts. Reader: the view book_depth_1s.
CREATE TABLE IF NOT EXISTS book_depth_1s_state
(
    product_id LowCardinality(String),
    time DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    best_bid Nullable(Decimal(38, 18)) CODEC(ZSTD),
    best_bid_size Nullable(Decimal(38, 18)) CODEC(ZSTD),
    best_ask Nullable(Decimal(38, 18)) CODEC(ZSTD),
    best_ask_size Nullable(Decimal(38, 18)) CODEC(ZSTD),
    mid Nullable(Decimal(76, 19)) CODEC(ZSTD),
    spread Nullable(Decimal(38, 18)) CODEC(ZSTD),
    spread_bps Nullable(Float64) CODEC(ZSTD),
    microprice Nullable(Decimal(38, 18)) CODEC(ZSTD),
    imbalance Nullable(Float64) CODEC(ZSTD),
    bid_base_10bps Decimal(38, 18) CODEC(ZSTD),
    bid_quote_10bps Decimal(76, 36) CODEC(ZSTD),
    ask_base_10bps Decimal(38, 18) CODEC(ZSTD),
    ask_quote_10bps Decimal(76, 36) CODEC(ZSTD),
    imbalance_10bps Nullable(Float64) CODEC(ZSTD),
    bid_base_50bps Decimal(38, 18) CODEC(ZSTD),
    bid_quote_50bps Decimal(76, 36) CODEC(ZSTD),
    ask_base_50bps Decimal(38, 18) CODEC(ZSTD),
    ask_quote_50bps Decimal(76, 36) CODEC(ZSTD),
    imbalance_50bps Nullable(Float64) CODEC(ZSTD),
    bid_base_100bps Decimal(38, 18) CODEC(ZSTD),
    bid_quote_100bps Decimal(76, 36) CODEC(ZSTD),
    ask_base_100bps Decimal(38, 18) CODEC(ZSTD),
    ask_quote_100bps Decimal(76, 36) CODEC(ZSTD),
    imbalance_100bps Nullable(Float64) CODEC(ZSTD),
    computed_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, time);

-- Best prices, depth, imbalance and microprice at the start of each second, as far as a task has filled them; seconds in
-- which the book wasn't known are missing. Readers: Grafana, the API, researchers.
CREATE VIEW IF NOT EXISTS book_depth_1s AS
SELECT * EXCEPT computed_at
FROM book_depth_1s_state FINAL;
