-- When bid >= ask: in tickers, from the crossed quote to the connection's next quote (at most 60 s), and in book_depth_1s,
-- second by second. bps is how far the bid stood above the ask, of mid. All that touch the range; a crossing that began
-- before `from` is there from its first quote on. until is NULL where the quote still holds at `to`.
-- Reader: anomalies_live.
CREATE OR REPLACE VIEW crossed_quotes AS
WITH
    -- The last quote before the range that isn't crossed: what is crossed after it began before `from`.
    (
        SELECT time
        FROM tickers
        WHERE product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')}
            AND best_bid > 0 AND best_ask > 0 AND best_bid < best_ask
        ORDER BY time DESC
        LIMIT 1
    ) AS uncrossed_quote,
    (
        SELECT time
        FROM book_depth_1s_state
        WHERE product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')} AND spread > 0
        ORDER BY time DESC
        LIMIT 1
    ) AS uncrossed_book
SELECT 'ticker' AS seen_in, time, least(next, time + toIntervalSecond(60)) AS until, bid, ask, bps
FROM
(
    SELECT
        time,
        bid,
        ask,
        20000 * toFloat64(bid - ask) / toFloat64(bid + ask) AS bps,
        leadInFrame(toNullable(time), 1, NULL) OVER
            (PARTITION BY connection ORDER BY time, kafka_offset ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS lead,
        if(lead IS NULL, toDateTime64('2261-01-01', 6, 'UTC'), lead) AS next
    FROM
    (
        SELECT time, kafka_offset, connection, assumeNotNull(best_bid) AS bid, assumeNotNull(best_ask) AS ask
        FROM tickers
        WHERE product_id = {product:String}
            AND time >= ifNull(uncrossed_quote, {from:DateTime64(6, 'UTC')})
            AND time < {to:DateTime64(6, 'UTC')}
            AND best_bid > 0 AND best_ask > 0
    )
)
WHERE bid >= ask
UNION ALL
SELECT 'book' AS seen_in, time, time + toIntervalSecond(1) AS until, assumeNotNull(best_bid), assumeNotNull(best_ask),
    -assumeNotNull(spread_bps)
FROM book_depth_1s_state FINAL
WHERE product_id = {product:String}
    AND time >= ifNull(uncrossed_book, {from:DateTime64(6, 'UTC')})
    AND time < {to:DateTime64(6, 'UTC')}
    AND spread <= 0;
