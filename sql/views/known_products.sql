-- Every product that the tape knows, once: the exchange has listed it, or a heartbeat, a trade or a book of it is stored.
-- What is read of the four is small: a row a product, a product and day, or a connection.
-- Readers: the API, the live stream, rollup.
CREATE OR REPLACE VIEW known_products AS
SELECT DISTINCT product_id
FROM
(
    SELECT product_id FROM products_state
    UNION ALL
    SELECT product_id FROM heartbeat_ends_state
    UNION ALL
    SELECT product_id FROM candle_states WHERE interval = '1d'
    UNION ALL
    SELECT product_id FROM book_connections_state
);
