-- What was received around a trade: trades, tickers and book changes of its product, in the order of arrival.
-- param product String = BTC-USD  (which product)
-- param trade_id UInt64  (which trade)
-- param seconds UInt32 = 1  (before and after it)

WITH
    (
        SELECT time
        FROM trades
        WHERE product_id = {product:String} AND trade_id = {trade_id:UInt64}
        LIMIT 1
    ) AS moment
SELECT received_at, time, what, side, price, size, connection
FROM
(
    SELECT received_at, time, 'trade ' || toString(trade_id) AS what, toString(taker_side) AS side, toNullable(price) AS price,
        toNullable(size) AS size, connection, kafka_offset, 0 AS position
    FROM trades
    WHERE product_id = {product:String}
        AND time BETWEEN moment - toIntervalSecond({seconds:UInt32}) AND moment + toIntervalSecond({seconds:UInt32})
    UNION ALL
    SELECT received_at, time, 'ticker, bid', '', best_bid, best_bid_size, connection, kafka_offset, 0
    FROM tickers
    WHERE product_id = {product:String}
        AND time BETWEEN moment - toIntervalSecond({seconds:UInt32}) AND moment + toIntervalSecond({seconds:UInt32})
    UNION ALL
    SELECT received_at, time, 'ticker, ask', '', best_ask, best_ask_size, connection, kafka_offset, 1
    FROM tickers
    WHERE product_id = {product:String}
        AND time BETWEEN moment - toIntervalSecond({seconds:UInt32}) AND moment + toIntervalSecond({seconds:UInt32})
    UNION ALL
    SELECT received_at, time, if(is_snapshot, 'book, snapshot', 'book'), toString(side), price, size, connection, kafka_offset, position
    FROM book_changes
    WHERE product_id = {product:String}
        AND time BETWEEN moment - toIntervalSecond({seconds:UInt32}) AND moment + toIntervalSecond({seconds:UInt32})
)
-- Offsets of two topics can't be compared.
ORDER BY received_at, kafka_offset, position;
