-- The liquidity of a product's book at a moment: book_depth_at(product = …, at = …). One row, or none where the book isn't
-- known; NULL where a side is empty. mid is exact, microprice is cut to 18 digits. Depth within 10, 50 and 100 bps of mid,
-- both ends included, in base and in quote currency. Formulas with their sources: docs/order_book.md.
-- Readers: the API, researchers.
CREATE OR REPLACE VIEW book_depth_at AS
WITH
    (of_side, bps) -> sumIf(size, side = of_side AND distance <= bps * twice_mid) AS base_within,
    (of_side, bps) -> sumIf(quote, side = of_side AND distance <= bps * twice_mid) AS quote_within,
    (bid, ask) -> toFloat64(bid - ask) / nullIf(toFloat64(bid + ask), 0) AS imbalance_of
SELECT
    {product:String} AS product_id,
    {at:DateTime64(6, 'UTC')} AS time,
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
        side,
        price,
        size,
        maxOrNullIf(price, side = 'bid') OVER () AS bid,
        minOrNullIf(price, side = 'ask') OVER () AS ask,
        argMaxOrNullIf(size, price, side = 'bid') OVER () AS bid_size,
        argMinOrNullIf(size, price, side = 'ask') OVER () AS ask_size,
        toDecimal256(bid, 18) + toDecimal256(ask, 18) AS twice_mid,
        -- How far from mid, times 20000: whole numbers decide what lies within n bps, distance <= n * twice_mid.
        20000 * toDecimal256(price, 18) - 10000 * twice_mid AS above,
        if(side = 'bid', -above, above) AS distance,
        toDecimal256(price, 18) * toDecimal256(size, 18) AS quote
    FROM book_levels_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
)
HAVING count() > 0;
