-- What a market order of a size (base currency) would have cost against the book of a moment:
-- market_order_cost(product = …, at = …, side = 'buy' or 'sell', size = …). A buy takes the asks from the best up, a sell
-- the bids from the best down. available is what the whole side holds. The rest is NULL when that is less than size, or size
-- isn't positive: average_price (cut to 18 digits), worst_price, cost (quote currency, exact), levels touched, and
-- slippage_bps, how much worse than mid the average price is. No row where the book isn't known. Fees aren't part of it.
-- Readers: researchers.
CREATE OR REPLACE VIEW market_order_cost AS
SELECT
    {product:String} AS product_id,
    {at:DateTime64(6, 'UTC')} AS time,
    {side:Enum8('buy' = 1, 'sell' = 2)} AS side,
    {size:Decimal(38, 18)} AS size,
    sumIf(level_size, is_taken) AS available,
    if({size:Decimal(38, 18)} > 0 AND available >= {size:Decimal(38, 18)},
        sumIf(toDecimal256(price, 18) * toDecimal256(taken, 18), is_taken), NULL) AS cost,
    CAST(divideDecimal(cost, toDecimal256(if({size:Decimal(38, 18)} > 0, {size:Decimal(38, 18)}, 1), 18), 18)
        AS Nullable(Decimal(38, 18))) AS average_price,
    if(cost IS NULL, NULL,
        if(side = 'buy', maxIf(price, is_taken AND taken > 0), minIf(price, is_taken AND taken > 0))) AS worst_price,
    if(cost IS NULL, NULL, countIf(is_taken AND taken > 0)) AS levels,
    -- (average price / mid - 1) without rounding the two first.
    if(side = 'buy', 1, -1) * 10000 * toFloat64(2 * cost - any(twice_mid) * toDecimal256({size:Decimal(38, 18)}, 18))
        / toFloat64(any(twice_mid) * toDecimal256({size:Decimal(38, 18)}, 18)) AS slippage_bps
FROM
(
    SELECT
        price,
        level_size,
        is_taken,
        sum(level_size) OVER
        (
            PARTITION BY is_taken
            ORDER BY if({side:Enum8('buy' = 1, 'sell' = 2)} = 'buy', price, -price)
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS through,
        greatest(0, least(level_size, {size:Decimal(38, 18)} - (through - level_size))) AS taken,
        toDecimal256(maxOrNullIf(price, level_side = 'bid') OVER (), 18)
            + toDecimal256(minOrNullIf(price, level_side = 'ask') OVER (), 18) AS twice_mid
    FROM
    (
        SELECT
            side AS level_side,
            price,
            size AS level_size,
            level_side = if({side:Enum8('buy' = 1, 'sell' = 2)} = 'buy', 'ask', 'bid') AS is_taken
        FROM book_levels_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
    )
)
HAVING count() > 0;
