-- How much could be traded within 10, 50 and 100 bps of mid at a moment, in the base and the quote currency.
-- param product String = BTC-USD  (which product)
-- param at DateTime64(6, 'UTC') = newest book  (which moment)

SELECT
    time,
    mid,
    spread_bps,
    band.1 AS within_bps,
    band.2 AS bid_base,
    band.3 AS ask_base,
    band.4 AS bid_quote,
    band.5 AS ask_quote,
    band.6 AS imbalance
FROM book_depth_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
ARRAY JOIN [
    (10, bid_base_10bps, ask_base_10bps, bid_quote_10bps, ask_quote_10bps, imbalance_10bps),
    (50, bid_base_50bps, ask_base_50bps, bid_quote_50bps, ask_quote_50bps, imbalance_50bps),
    (100, bid_base_100bps, ask_base_100bps, bid_quote_100bps, ask_quote_100bps, imbalance_100bps)
] AS band
ORDER BY within_bps;
