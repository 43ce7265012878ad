-- The liquidity of a product's book at the start of each second s with from <= s < to, in the columns of book_depth_at, for
-- the seconds in which the book is known: book_depth_1s_between(product = …, from = …, to = …). Each level's life is
-- spread over the seconds, so a call is meant for minutes, not for days. Levels that can't be best in any second, nor within
-- 100 bps, are left out first. Reader: what fills book_depth_1s.
CREATE OR REPLACE VIEW book_depth_1s_between AS
WITH
    (of_side, bps) -> sumIf(size, side = of_side AND distance <= bps * twice_mid) AS base_within,
    (of_side, bps) -> sumIf(quote, side = of_side AND distance <= bps * twice_mid) AS quote_within,
    (bid, ask) -> toFloat64(bid - ask) / nullIf(toFloat64(bid + ask), 0) AS imbalance_of,
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
    -- The connections and the lowest first change. A scalar is worked out once, a named subquery for each mention.
    (SELECT (groupUniqArray(CAST(connection AS String)), min(first_change)) FROM epochs) AS wanted_changes,
    -- The states as in book_levels_at.
    changes AS
    (
        SELECT connection, side, price, size, change, 0 AS second
        FROM book_levels
        WHERE interval = '1d' AND product_id = {product:String} AND connection IN wanted_changes.1 AND change >= wanted_changes.2
            AND time < toStartOfDay({from:DateTime64(6, 'UTC')})
        UNION ALL
        SELECT connection, side, price, size, change, 0 AS second
        FROM book_levels
        WHERE interval = '1h' AND product_id = {product:String} AND connection IN wanted_changes.1 AND change >= wanted_changes.2
            AND time >= toStartOfDay({from:DateTime64(6, 'UTC')}) AND time < toStartOfHour({from:DateTime64(6, 'UTC')})
        UNION ALL
        SELECT connection, side, price, size, change, 0 AS second
        FROM book_levels
        WHERE interval = '10m' AND product_id = {product:String} AND connection IN wanted_changes.1 AND change >= wanted_changes.2
            AND time >= toStartOfHour({from:DateTime64(6, 'UTC')})
            AND time < toStartOfInterval({from:DateTime64(6, 'UTC')}, INTERVAL 10 MINUTE)
        UNION ALL
        -- The first second that begins with this change, or after it.
        SELECT connection, side, price, size, kafka_offset * 1048576 + position AS change,
            toUInt32(intDiv(toUnixTimestamp64Micro(time) + 999999, 1000000)) AS second
        FROM book_changes
        WHERE product_id = {product:String} AND connection IN wanted_changes.1 AND change >= wanted_changes.2
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
    imbalance_of(best_bid_size, best_ask_size) AS imbalance,
    base_within('bid', 10) AS bid_base_10bps,
    quote_within('bid', 10) AS bid_quote_10bps,
    base_within('ask', 10) AS ask_base_10bps,
    quote_within('ask', 10) AS ask_quote_10bps,
    imbalance_of(bid_base_10bps, ask_base_10bps) AS imbalance_10bps,
    base_within('bid', 50) AS bid_base_50bps,
    quote_within('bid', 50) AS bid_quote_50bps,
    base_within('ask', 50) AS ask_base_50bps,
    quote_within('ask', 50) AS ask_quote_50bps,
    imbalance_of(bid_base_50bps, ask_base_50bps) AS imbalance_50bps,
    base_within('bid', 100) AS bid_base_100bps,
    quote_within('bid', 100) AS bid_quote_100bps,
    base_within('ask', 100) AS ask_base_100bps,
    quote_within('ask', 100) AS ask_quote_100bps,
    imbalance_of(bid_base_100bps, ask_base_100bps) AS imbalance_100bps
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
