-- When a product's order book is known, by which connection, and why it ends.
-- param product String = BTC-USD  (which product)
-- param limit UInt32 = 20  (how many of the newest epochs)

SELECT
    connection,
    valid_from,
    valid_to,
    (toUnixTimestamp64Micro(valid_to) - toUnixTimestamp64Micro(valid_from)) / 1e6 AS seconds,
    levels,
    ended_by,
    reason
FROM book_epochs
WHERE product_id = {product:String}
ORDER BY valid_from DESC, connection
LIMIT {limit:UInt32};
