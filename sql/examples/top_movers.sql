-- The products that moved most in the 24 hours before a moment, in percent.
-- param at DateTime64(6, 'UTC') = newest  (the end of the 24 hours)
-- param limit UInt32 = 20  (how many)

SELECT product_id, 100 * change_ratio AS change_percent, open, last, low, high, volume, quote_volume, trades
FROM rolling_24h(at = {at:DateTime64(6, 'UTC')})
ORDER BY abs(change_ratio) DESC, product_id
LIMIT {limit:UInt32};
