-- The two topics, as KAFKA_GROUP with _engine behind it reads them: a frame's bytes as they are, whatever they hold. Where the group has
-- committed nothing it begins with the oldest message. A block is written after a second at the latest.
CREATE TABLE IF NOT EXISTS kafka_engine_messages
(
    value String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = {brokers},
    kafka_topic_list = {topics},
    kafka_group_name = {group},
    kafka_client_id = 'tapehouse-kafka-engine',
    kafka_format = 'RawBLOB',
    kafka_security_protocol = {protocol},
    kafka_sasl_mechanism = {mechanism},
    kafka_sasl_username = {username},
    kafka_sasl_password = {password},
    kafka_num_consumers = 1,
    -- Below max_block_size, so that a block stays whole on its way through the views.
    kafka_max_block_size = 65000,
    kafka_flush_interval_ms = 1000;

-- From messages to frames: the stamp from its header, or from three as older messages have it (Kafka's own time where
-- there is none), and the rules of
-- lib/feed/messages.ts in its words. The fields are checked in the order of its schemas; the first that is wrong is the
-- reason. ClickHouse writes each field's JSON text anew, without spaces and needless escapes: that is what is matched here.
CREATE MATERIALIZED VIEW IF NOT EXISTS kafka_engine_messages_mv TO kafka_engine_frames AS
WITH
    name -> _headers.value[indexOf(_headers.name, name)] AS header,
    extractGroups(header('stamp'), '(?s)^([^ ]+) ([^ ]*) (.*)$') AS stamp,
    if(empty(stamp), header('received_at'), stamp[1]) AS micros,
    if(empty(stamp), header('source'), stamp[2]) AS origin,
    raw -> multiIf(
        raw = '', 'nothing',
        lengthUTF8(raw) > 80, concat(substringUTF8(raw, 1, 80), '…'),
        raw
    ) AS shown,
    raw -> transform(
        substring(raw, 1, 1),
        ['', '"', '[', '{', 't', 'f', 'n'],
        ['undefined', 'string', 'array', 'object', 'boolean', 'boolean', 'null'],
        'number'
    ) AS received,
    (expected, raw) -> concat(
        expected,
        if(startsWith(expected, 'invalid input: '), concat(', received ', received(raw)), ''),
        ', got ',
        shown(raw)
    ) AS explained,

    -- What a field's text should have been; empty when it is.
    raw -> if(startsWith(raw, '"'), '', 'invalid input: expected string') AS string,
    raw -> multiIf(
        NOT startsWith(raw, '"'), 'invalid input: expected string',
        NOT match(raw, '^"\\d{1,20}(?:\\.\\d{1,18})?"$'), 'expected a decimal such as "0.01"',
        ''
    ) AS decimal,
    raw -> multiIf(
        decimal(raw) != '', decimal(raw),
        NOT match(raw, '[1-9]'), 'expected a decimal above 0',
        ''
    ) AS positive,
    raw -> multiIf(
        match(raw, '^\\d{1,16}$') AND toUInt64OrZero(raw) <= 9007199254740991, '',
        received(raw) != 'number', 'invalid input: expected number',
        NOT match(raw, '^-?\\d+$'), 'invalid input: expected int',
        startsWith(raw, '-'), 'Too small: expected number to be >=0',
        'Too big: expected int to be <=9007199254740991'
    ) AS id,
    raw -> multiIf(
        NOT match(
            raw,
            '^"(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-29|\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8])))T(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?Z"$'
        ), 'expected a UTC time such as 2026-07-07T22:58:17.123456Z',
        substring(raw, 2, 4) < '1970' OR substring(raw, 2, 4) > '2105', 'expected a time from 1970 to 2105',
        ''
    ) AS time,
    raw -> multiIf(
        raw = '' OR startsWith(raw, '"0001-01-01T00:00:00'), '',
        NOT startsWith(raw, '"'), 'invalid input',
        time(raw)
    ) AS optionalTime,
    raw -> multiIf(
        NOT startsWith(raw, '"'), 'invalid input: expected string',
        NOT match(JSONExtractString(raw), '^[^\\s\\x0b\\x{feff}\\pZ]{1,64}$'), 'expected a product id such as BTC-USD',
        ''
    ) AS productId,
    raw -> if(raw IN ('"buy"', '"sell"'), '', 'invalid option: expected one of "buy"|"sell"') AS side,
    raw -> if(raw IN ('true', 'false'), '', 'invalid input: expected boolean') AS boolean,
    raw -> multiIf(
        NOT startsWith(raw, '['), 'invalid input: expected array',
        NOT match(raw, '^\\[(?:\\["\\d{1,20}(?:\\.\\d{1,18})?","\\d{1,20}(?:\\.\\d{1,18})?"\\],?)*\\]$'),
        'expected levels such as ["0.01","2"]',
        ''
    ) AS levels,
    raw -> multiIf(
        NOT startsWith(raw, '['), 'invalid input: expected array',
        NOT match(
            raw,
            '^\\[(?:\\["(?:buy|sell)","\\d{1,20}(?:\\.\\d{1,18})?","\\d{1,20}(?:\\.\\d{1,18})?"\\],?)*\\]$'
        ), 'expected changes such as ["buy","0.01","2"]',
        ''
    ) AS changes,
    raw -> multiIf(
        raw IN (
            '"connected"', '"subscribed"', '"refused"', '"not_acknowledged"', '"error"', '"silent"', '"disconnected"',
            '"buffer_full"', '"frame_too_large"', '"gap"', '"gap_filled"', '"gap_given_up"'
        ), '',
        'invalid option: expected one of "connected"|"subscribed"|"refused"|"not_acknowledged"|"error"|"silent"|"disconnected"|"buffer_full"|"frame_too_large"|"gap"|"gap_filled"|"gap_given_up"'
    ) AS event,

    -- Of the same name, the last field counts.
    json -> CAST(arrayReverse(JSONExtractKeysAndValuesRaw(json)), 'Map(String, String)') AS fieldsOf,

    -- One product of a status message: the first field that is wrong, and why.
    [
        'id', 'base_currency', 'quote_currency', 'base_increment', 'quote_increment', 'min_market_funds', 'status',
        'status_message', 'display_name', 'trading_disabled', 'post_only', 'limit_only', 'cancel_only'
    ] AS product_names,
    product -> [
        productId(product['id']),
        string(product['base_currency']),
        string(product['quote_currency']),
        decimal(product['base_increment']),
        decimal(product['quote_increment']),
        if(product['min_market_funds'] = '', '', decimal(product['min_market_funds'])),
        string(product['status']),
        if(product['status_message'] IN ('', 'null'), '', string(product['status_message'])),
        if(product['display_name'] = '', '', string(product['display_name'])),
        if(product['trading_disabled'] = '', '', boolean(product['trading_disabled'])),
        if(product['post_only'] = '', '', boolean(product['post_only'])),
        if(product['limit_only'] = '', '', boolean(product['limit_only'])),
        if(product['cancel_only'] = '', '', boolean(product['cancel_only']))
    ] AS productExpected,
    (product, expected) -> if(
        arrayExists(text -> text != '', expected),
        concat(
            '.',
            product_names[arrayFirstIndex(text -> text != '', expected)],
            ': ',
            explained(
                arrayFirst(text -> text != '', expected),
                product[product_names[arrayFirstIndex(text -> text != '', expected)]]
            )
        ),
        ''
    ) AS productReason,
    arrayMap(
        product -> if(
            startsWith(product, '{'),
            productReason(fieldsOf(product), productExpected(fieldsOf(product))),
            concat(': ', explained('invalid input: expected object', product))
        ),
        if(type = 'status', JSONExtractArrayRaw(fields['products']), [])
    ) AS product_reasons,
    arrayFirstIndex(text -> text != '', product_reasons) AS wrong_product,

    -- The fields of each type that are checked, and what each should have been.
    multiIf(
        type IN ('match', 'last_match'),
        ['trade_id', 'product_id', 'time', 'price', 'size', 'side', 'sequence', 'maker_order_id', 'taker_order_id'],
        type = 'ticker',
        [
            'product_id', 'sequence', 'time', 'price', 'best_bid', 'best_bid_size', 'best_ask', 'best_ask_size', 'side',
            'trade_id', 'last_size', 'open_24h', 'high_24h', 'low_24h', 'volume_24h', 'volume_30d'
        ],
        type = 'heartbeat', ['product_id', 'time', 'sequence', 'last_trade_id'],
        type = 'snapshot', ['product_id', 'time', 'bids', 'asks'],
        type = 'l2update', ['product_id', 'time', 'changes'],
        type = 'status', ['products'],
        type = 'feed_event', ['event', 'time', 'product_id', 'channel', 'reason', 'details'],
        []
    ) AS names,
    raw -> if(raw = '', '', decimal(raw)) AS optionalDecimal,
    raw -> if(raw = '', '', string(raw)) AS optionalString,
    multiIf(
        type IN ('match', 'last_match'),
        [
            id(fields['trade_id']),
            productId(fields['product_id']),
            time(fields['time']),
            positive(fields['price']),
            positive(fields['size']),
            side(fields['side']),
            if(fields['sequence'] = '', '', id(fields['sequence'])),
            optionalString(fields['maker_order_id']),
            optionalString(fields['taker_order_id'])
        ],
        type = 'ticker',
        [
            productId(fields['product_id']),
            id(fields['sequence']),
            optionalTime(fields['time']),
            decimal(fields['price']),
            optionalDecimal(fields['best_bid']),
            optionalDecimal(fields['best_bid_size']),
            optionalDecimal(fields['best_ask']),
            optionalDecimal(fields['best_ask_size']),
            if(fields['side'] = '', '', side(fields['side'])),
            if(fields['trade_id'] = '', '', id(fields['trade_id'])),
            optionalDecimal(fields['last_size']),
            optionalDecimal(fields['open_24h']),
            optionalDecimal(fields['high_24h']),
            optionalDecimal(fields['low_24h']),
            optionalDecimal(fields['volume_24h']),
            optionalDecimal(fields['volume_30d'])
        ],
        type = 'heartbeat',
        [
            productId(fields['product_id']),
            time(fields['time']),
            id(fields['sequence']),
            id(fields['last_trade_id'])
        ],
        type = 'snapshot',
        [
            productId(fields['product_id']),
            optionalTime(fields['time']),
            levels(fields['bids']),
            levels(fields['asks'])
        ],
        type = 'l2update',
        [productId(fields['product_id']), optionalTime(fields['time']), changes(fields['changes'])],
        type = 'status',
        [if(startsWith(fields['products'], '['), '', 'invalid input: expected array')],
        type = 'feed_event',
        [
            event(fields['event']),
            time(fields['time']),
            if(fields['product_id'] = '', '', productId(fields['product_id'])),
            optionalString(fields['channel']),
            optionalString(fields['reason']),
            if(fields['details'] = '' OR startsWith(fields['details'], '{'), '', 'invalid input: expected record')
        ],
        []
    ) AS expected,
    arrayFirstIndex(text -> text != '', expected) AS wrong
SELECT
    JSONExtractString(fields['type']) AS type,
    multiIf(
        JSONType(value) != 'Object',
        multiIf(
            NOT isValidUTF8(value), 'not UTF-8',
            NOT isValidJSON(value), 'not JSON',
            explained('invalid input: expected object', JSONExtractRaw(value))
        ),
        wrong > 0, concat(names[wrong], ': ', explained(expected[wrong], fields[names[wrong]])),
        wrong_product > 0, concat('products.', toString(wrong_product - 1), product_reasons[wrong_product]),
        names = [] AND type NOT IN ('subscriptions', 'error', 'received', 'open', 'done', 'change', 'activate'),
        concat('type: unknown message type ', shown(fields['type'])),
        ''
    ) AS reason,
    fieldsOf(value) AS fields,
    value,
    _topic AS kafka_topic,
    fromUnixTimestamp64Micro(
        if(
            match(micros, '^[1-9]\\d{0,15}$') AND toInt64OrZero(micros) <= 9007199254740991,
            toInt64OrZero(micros),
            ifNull(toUnixTimestamp64Milli(_timestamp_ms), 0) * 1000
        ),
        'UTC'
    ) AS received_at,
    if(origin = '', 'unknown', origin) AS source,
    if(empty(stamp), header('connection'), stamp[3]) AS connection,
    _partition AS kafka_partition,
    _offset AS kafka_offset
FROM kafka_engine_messages;
