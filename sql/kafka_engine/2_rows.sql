-- From valid frames to rows, as lib/ingest/rows.ts does it. What a frame holds was checked before (3_messages.sql), and nothing
-- here may throw: a block that can't be written is read again for ever. Hence the OrZero and OrNull.

-- A trade that is stored already isn't inserted again: the first of equal ones in the block, and none that trades has. The
-- look-up reads the granules of the block's own keys. batch names no offsets, for a block can't be asked for again.
CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_trades_mv TO trades AS
WITH
    name -> substring(fields[name], 2, length(fields[name]) - 2) AS text,
    name -> toDateTime64OrZero(
        concat(substring(text(name), 1, 10), ' ', substring(text(name), 12, least(length(text(name)) - 12, 15))),
        6,
        'UTC'
    ) AS timeOf,
    name -> toUUIDOrNull(extract(fields[name], '^"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"$')) AS orderId
SELECT
    JSONExtractString(fields['product_id']) AS product_id,
    toUInt64OrZero(fields['trade_id']) AS trade_id,
    timeOf('time') AS time,
    toDecimal128OrZero(text('price'), 18) AS price,
    toDecimal128OrZero(text('size'), 18) AS size,
    CAST(if(text('side') = 'sell', 'buy', 'sell'), 'Enum8(\'buy\' = 1, \'sell\' = 2)') AS taker_side,
    toUInt64OrZero(fields['sequence']) AS sequence,
    orderId('maker_order_id') AS maker_order_id,
    orderId('taker_order_id') AS taker_order_id,
    received_at,
    source,
    connection,
    kafka_partition,
    kafka_offset,
    concat({group}, '/', kafka_topic, '/', toString(kafka_partition)) AS batch
FROM kafka_engine_frames
WHERE type IN ('match', 'last_match') AND reason = '' AND (product_id, trade_id) NOT IN
(
    SELECT stored.product_id, stored.trade_id
    FROM trades AS stored
    WHERE (stored.product_id, stored.trade_id) IN
    (
        SELECT JSONExtractString(frame.fields['product_id']), toUInt64OrZero(frame.fields['trade_id'])
        FROM kafka_engine_frames AS frame
        WHERE frame.type IN ('match', 'last_match') AND frame.reason = ''
    )
)
ORDER BY kafka_topic, kafka_partition, kafka_offset
LIMIT 1 BY product_id, trade_id;

-- A ticker's side is the taker's already.
CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_tickers_mv TO tickers AS
WITH
    name -> substring(fields[name], 2, length(fields[name]) - 2) AS text,
    name -> toDecimal128OrNull(text(name), 18) AS decimal
SELECT
    JSONExtractString(fields['product_id']) AS product_id,
    toUInt64OrZero(fields['sequence']) AS sequence,
    if(
        fields['time'] = '' OR startsWith(fields['time'], '"0001-01-01T00:00:00'),
        received_at,
        toDateTime64OrZero(
            concat(substring(text('time'), 1, 10), ' ', substring(text('time'), 12, least(length(text('time')) - 12, 15))),
            6,
            'UTC'
        )
    ) AS time,
    toDecimal128OrZero(text('price'), 18) AS price,
    decimal('best_bid') AS best_bid,
    decimal('best_bid_size') AS best_bid_size,
    decimal('best_ask') AS best_ask,
    decimal('best_ask_size') AS best_ask_size,
    CAST(nullIf(text('side'), ''), 'Nullable(Enum8(\'buy\' = 1, \'sell\' = 2))') AS taker_side,
    toUInt64OrNull(fields['trade_id']) AS trade_id,
    decimal('last_size') AS last_size,
    decimal('open_24h') AS open_24h,
    decimal('high_24h') AS high_24h,
    decimal('low_24h') AS low_24h,
    decimal('volume_24h') AS volume_24h,
    decimal('volume_30d') AS volume_30d,
    received_at,
    source,
    connection,
    kafka_partition,
    kafka_offset
FROM kafka_engine_frames
WHERE type = 'ticker' AND reason = '';

-- A snapshot's bids, then its asks; an update's changes.
CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_book_changes_mv TO book_changes AS
WITH
    substring(fields['time'], 2, length(fields['time']) - 2) AS time_text,
    type = 'snapshot' AS is_whole,
    if(
        is_whole,
        arrayConcat(
            arrayMap(level -> ('bid', level.1, level.2), JSONExtract(fields['bids'], 'Array(Tuple(String, String))')),
            arrayMap(level -> ('ask', level.1, level.2), JSONExtract(fields['asks'], 'Array(Tuple(String, String))'))
        ),
        arrayMap(
            change -> (if(change.1 = 'buy', 'bid', 'ask'), change.2, change.3),
            JSONExtract(fields['changes'], 'Array(Tuple(String, String, String))')
        )
    ) AS levels
SELECT
    JSONExtractString(fields['product_id']) AS product_id,
    if(
        time_text = '' OR startsWith(time_text, '0001-01-01T00:00:00'),
        received_at,
        toDateTime64OrZero(
            concat(substring(time_text, 1, 10), ' ', substring(time_text, 12, least(length(time_text) - 12, 15))),
            6,
            'UTC'
        )
    ) AS time,
    CAST(level.1, 'Enum8(\'bid\' = 1, \'ask\' = 2)') AS side,
    toDecimal128OrZero(level.2, 18) AS price,
    toDecimal128OrZero(level.3, 18) AS size,
    is_whole AS is_snapshot,
    place - 1 AS position,
    received_at,
    source,
    connection,
    kafka_partition,
    kafka_offset
FROM kafka_engine_frames
ARRAY JOIN levels AS level, arrayEnumerate(levels) AS place
WHERE type IN ('snapshot', 'l2update') AND reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_heartbeats_mv TO heartbeats AS
WITH substring(fields['time'], 2, length(fields['time']) - 2) AS time_text
SELECT
    JSONExtractString(fields['product_id']) AS product_id,
    toDateTime64OrZero(
        concat(substring(time_text, 1, 10), ' ', substring(time_text, 12, least(length(time_text) - 12, 15))),
        6,
        'UTC'
    ) AS time,
    toUInt64OrZero(fields['sequence']) AS sequence,
    toUInt64OrZero(fields['last_trade_id']) AS last_trade_id,
    received_at,
    source,
    connection,
    kafka_partition,
    kafka_offset
FROM kafka_engine_frames
WHERE type = 'heartbeat' AND reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_products_mv TO products_state AS
SELECT
    JSONExtractString(product, 'id') AS product_id,
    JSONExtractString(product, 'base_currency') AS base_currency,
    JSONExtractString(product, 'quote_currency') AS quote_currency,
    toDecimal128OrZero(JSONExtractString(product, 'base_increment'), 18) AS base_increment,
    toDecimal128OrZero(JSONExtractString(product, 'quote_increment'), 18) AS quote_increment,
    toDecimal128OrNull(JSONExtractString(product, 'min_market_funds'), 18) AS min_market_funds,
    JSONExtractString(product, 'status') AS status,
    JSONExtractString(product, 'status_message') AS status_message,
    JSONExtractString(product, 'display_name') AS display_name,
    JSONExtractBool(product, 'trading_disabled') AS trading_disabled,
    JSONExtractBool(product, 'post_only') AS post_only,
    JSONExtractBool(product, 'limit_only') AS limit_only,
    JSONExtractBool(product, 'cancel_only') AS cancel_only,
    received_at,
    source,
    connection,
    kafka_partition,
    kafka_offset
FROM kafka_engine_frames
ARRAY JOIN JSONExtractArrayRaw(fields['products']) AS product
WHERE type = 'status' AND reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_feed_events_mv TO feed_events AS
WITH substring(fields['time'], 2, length(fields['time']) - 2) AS time_text
SELECT
    toDateTime64OrZero(
        concat(substring(time_text, 1, 10), ' ', substring(time_text, 12, least(length(time_text) - 12, 15))),
        6,
        'UTC'
    ) AS time,
    JSONExtractString(fields['event']) AS event,
    JSONExtractString(fields['product_id']) AS product_id,
    JSONExtractString(fields['channel']) AS channel,
    JSONExtractString(fields['reason']) AS reason,
    fields['details'] AS details,
    received_at,
    source,
    connection,
    kafka_partition,
    kafka_offset
FROM kafka_engine_frames AS frame
WHERE type = 'feed_event' AND frame.reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_rejected_mv TO rejected AS
SELECT reason, value AS raw, kafka_topic, received_at, source, connection, kafka_partition, kafka_offset
FROM kafka_engine_frames
WHERE reason != '';
