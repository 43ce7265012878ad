-- The quoted spread of a product, second by second, from tickers: spreads_1s(product = …, from = …, to = …), all seconds
-- s with from <= s < to that hold a quote. A quote holds until the next one of its connection, at most 60 s, so the last
-- quote before a second holds at its start. bid, ask and mid are averages weighted by time, cut to 18 digits; spread_bps is
-- that of each quote's spread relative to its mid. One connection is read for each second: the one with most quotes in it
-- (the first by name where equal). covered is the part of the second in which a quote held.
-- Readers: the API, spread_ratios, researchers.
CREATE OR REPLACE VIEW spreads_1s AS
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
