-- The order book of a product at a moment, both sides beside each other.
-- param product String = BTC-USD  (which product)
-- param at DateTime64(6, 'UTC') = newest book  (which moment)
-- param depth UInt32 = 10  (how many levels a side)

SELECT
    level,
    maxOrNullIf(size, side = 'bid') AS bid_size,
    maxOrNullIf(price, side = 'bid') AS bid,
    maxOrNullIf(price, side = 'ask') AS ask,
    maxOrNullIf(size, side = 'ask') AS ask_size
FROM book_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')}, depth = {depth:UInt32}) AS book
GROUP BY level
ORDER BY level;
