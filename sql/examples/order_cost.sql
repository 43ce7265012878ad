-- What a market order would have cost at eight moments: average price, slippage against mid.
-- param product String = BTC-USD  (which product)
-- param side Enum8('buy' = 1, 'sell' = 2) = buy  (buy or sell)
-- param size Decimal(38, 18) = 10  (in the base currency)
-- param at DateTime64(6, 'UTC') = newest book  (the last of the moments)
-- param step UInt32 = 10  (seconds between two of them)

SELECT time, side, size, available, cost, average_price, worst_price, levels, slippage_bps
FROM
(
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(0 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
    UNION ALL
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(1 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
    UNION ALL
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(2 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
    UNION ALL
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(3 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
    UNION ALL
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(4 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
    UNION ALL
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(5 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
    UNION ALL
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(6 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
    UNION ALL
    SELECT *
    FROM market_order_cost(
        product = {product:String},
        at = {at:DateTime64(6, 'UTC')} - toIntervalSecond(7 * {step:UInt32}),
        side = {side:Enum8('buy' = 1, 'sell' = 2)},
        size = {size:Decimal(38, 18)}
    )
)
ORDER BY time;
