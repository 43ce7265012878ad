-- Statistics of trades. docs/analytics.md has each formula with its source. All are views over trades and the states of
-- candles, so that a late trade (a filled hole) changes them at once; only volatility_metrics is a table: the days that
-- `deno task stats --date` computed. from (included) and to (not included) are times in UTC.
-- Ratios are Float64; nan where they don't exist (no variance, no trade).
-- Readers: API, Grafana, Airflow, researchers.

-- Per product and hour with trades: the candle, its return, the order-flow imbalance, the mean size of a trade.
CREATE VIEW IF NOT EXISTS hourly_stats AS
SELECT
    product_id,
    time AS hour,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    buy_volume,
    sell_volume,
    trades,
    -- A division of whole numbers: divideDecimal() comes to the same, many times slower.
    reinterpret(
        toInt128(intDiv(reinterpret(quote_volume, 'Int256'), toInt256(reinterpret(volume, 'Int128')))),
        'Decimal(38, 18)'
    ) AS vwap,
    toFloat64(close) / toFloat64(open) - 1 AS return,
    toFloat64(buy_volume - sell_volume) / toFloat64(buy_volume + sell_volume) AS order_flow_imbalance,
    toFloat64(volume) / trades AS mean_trade_size
FROM candles_1h;

-- Who took more, buyers (towards 1) or sellers (towards -1), per interval with trades.
CREATE VIEW IF NOT EXISTS order_flow AS
SELECT
    product_id,
    time,
    buy_volume,
    sell_volume,
    trades,
    toFloat64(buy_volume - sell_volume) / toFloat64(buy_volume + sell_volume) AS order_flow_imbalance
FROM candles(
    product = {product:String},
    interval = {interval:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
);

-- How far each close lies under the highest close of the range so far: 0 to -1. Its minimum is the maximum drawdown.
CREATE VIEW IF NOT EXISTS drawdown AS
SELECT
    product_id,
    time,
    close,
    max(close) OVER (ORDER BY time ROWS UNBOUNDED PRECEDING) AS peak,
    toFloat64(close) / toFloat64(peak) - 1 AS drawdown
FROM candles(
    product = {product:String},
    interval = {interval:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
);

-- The distribution of a product's trade sizes, one row; no row without trades. A quantile p is the size at place
-- floor(p × trades), counted from 0 in ascending order: always a size that was traded, never one in between.
CREATE VIEW IF NOT EXISTS trade_sizes AS
WITH quantilesExact(0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)(size) AS quantiles
SELECT
    product_id,
    count() AS trades,
    toFloat64(sum(size)) / trades AS mean,
    min(size) AS smallest,
    quantiles[1] AS p01,
    quantiles[2] AS p10,
    quantiles[3] AS p25,
    quantiles[4] AS p50,
    quantiles[5] AS p75,
    quantiles[6] AS p90,
    quantiles[7] AS p99,
    max(size) AS largest
FROM trades
WHERE product_id = {product:String}
    AND time >= {from:DateTime64(6, 'UTC')}
    AND time < {to:DateTime64(6, 'UTC')}
GROUP BY product_id;

-- Three estimates of a product's annualized volatility from its 1m candles, one row. A minute without trades counts
-- with the return and the range 0. The first return goes from the close before the range; where the product's first
-- trade lies in the range, there is one return less than minutes. No row where no price is known.
CREATE VIEW IF NOT EXISTS volatility AS
WITH 365 * 24 * 60 AS minutes_per_year
SELECT
    product_id,
    count() AS minutes,
    countIf(previous > 0) AS returns,
    sqrt(avgIf(pow(log(close / previous), 2), previous > 0) * minutes_per_year) AS realized_volatility,
    sqrt(avg(pow(log(high / low), 2)) / (4 * log(2)) * minutes_per_year) AS parkinson,
    sqrt(avg(0.5 * pow(log(high / low), 2) - (2 * log(2) - 1) * pow(log(close / open), 2)) * minutes_per_year)
        AS garman_klass
FROM
(
    SELECT
        product_id,
        time,
        toFloat64(candle.open) AS open,
        toFloat64(candle.high) AS high,
        toFloat64(candle.low) AS low,
        toFloat64(candle.close) AS close,
        lagInFrame(toFloat64(candle.close)) OVER (ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
    FROM candles_filled(
        product = {product:String},
        interval = '1m',
        from = {from:DateTime64(6, 'UTC')} - toIntervalMinute(1),
        to = {to:DateTime64(6, 'UTC')}
    ) AS candle
)
WHERE time >= toStartOfMinute({from:DateTime64(6, 'UTC')}) AND {from:DateTime64(6, 'UTC')} < {to:DateTime64(6, 'UTC')}
GROUP BY product_id;

-- Log returns of the 1m closes of several products, a row for every product and minute that touches the range and has
-- a price known in the minute before it; 0 in minutes without trades. Readers: correlations, beta_to_btc.
--   SELECT * FROM log_returns(products=['BTC-USD', 'ETH-USD'], from='2026-07-07 00:00:00', to='2026-07-08 00:00:00')
CREATE VIEW IF NOT EXISTS log_returns AS
WITH
    toUnixTimestamp64Micro({from:DateTime64(6, 'UTC')}) AS from_micros,
    least(toUnixTimestamp64Micro({to:DateTime64(6, 'UTC')}), toUnixTimestamp64Micro(now64(6))) AS to_micros,
    intDiv(from_micros, 60000000) AS first,
    intDiv(to_micros - 1, 60000000) AS last,
    fromUnixTimestamp64Micro(first * 60000000, 'UTC') AS first_time,
    -- The minutes before the range that hold the products' last closes.
    (
        SELECT min(newest)
        FROM
        (
            SELECT max(time) AS newest
            FROM candles_1m_state
            WHERE product_id IN {products:Array(String)} AND time < first_time
            GROUP BY product_id
        )
    ) AS known_since
SELECT
    product_id,
    time,
    log(close / previous) AS log_return
FROM
(
    SELECT
        grid.product_id AS product_id,
        fromUnixTimestamp64Micro(grid.minute * 60000000, 'UTC') AS time,
        closes.close AS close,
        lagInFrame(closes.close) OVER
            (PARTITION BY grid.product_id ORDER BY grid.minute ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
    FROM
    (
        SELECT arrayJoin(arrayDistinct({products:Array(String)})) AS product_id, first - 1 + toInt64(number) AS minute
        FROM numbers(toUInt64(greatest(if(from_micros < to_micros, last - first + 2, 0), 0)))
    ) AS grid
    ASOF LEFT JOIN
    (
        SELECT
            CAST(state.product_id AS String) AS product_id,
            intDiv(toUnixTimestamp64Micro(state.time), 60000000) AS minute,
            toFloat64(argMaxMerge(state.close)) AS close
        FROM candles_1m_state AS state
        WHERE state.product_id IN {products:Array(String)}
            AND state.time >= ifNull(known_since, first_time)
            AND state.time < {to:DateTime64(6, 'UTC')}
        GROUP BY state.product_id, state.time
    ) AS closes ON closes.product_id = grid.product_id AND closes.minute <= grid.minute
)
WHERE previous > 0 AND time >= first_time;

-- The correlation matrix of products: Pearson's, of their 1m log returns in the minutes where both have one (minutes).
-- Every ordered pair has a row, each product with itself too.
CREATE VIEW IF NOT EXISTS correlations AS
SELECT
    x.product_id AS product_x,
    y.product_id AS product_y,
    count() AS minutes,
    corrStable(x.log_return, y.log_return) AS correlation
FROM log_returns(
    products = {products:Array(String)},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS x
INNER JOIN log_returns(
    products = {products:Array(String)},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS y ON y.time = x.time
GROUP BY product_x, product_y;

-- How much a product moves when BTC-USD moves by one: covariance of their 1m log returns over BTC-USD's variance.
-- No row where the two share no minute.
CREATE VIEW IF NOT EXISTS beta_to_btc AS
SELECT
    {product:String} AS product_id,
    count() AS minutes,
    covarPopStable(own.log_return, btc.log_return) / varPopStable(btc.log_return) AS beta
FROM log_returns(
    products = [{product:String}],
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS own
INNER JOIN log_returns(
    products = ['BTC-USD'],
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS btc ON btc.time = own.time
GROUP BY product_id;

-- The figures of Coinbase's ticker for the 24 hours before `at` (cut to whole seconds), per product, from the trades
-- themselves: open is the price of the last trade before the 24 hours (of the first in them where there is none), last
-- the newest price, change = last - open, change_ratio = change / open. Products without a trade in the 24 hours are
-- left out.
CREATE VIEW IF NOT EXISTS rolling_24h AS
WITH
    toDateTime64(toStartOfSecond({at:DateTime64(6, 'UTC')}), 6, 'UTC') AS until,
    until - toIntervalHour(24) AS since
SELECT
    day.product_id AS product_id,
    if(before.price > 0, before.price, day.first) AS open,
    day.high AS high,
    day.low AS low,
    day.last AS last,
    day.volume AS volume,
    day.quote_volume AS quote_volume,
    day.trades AS trades,
    last - open AS change,
    toFloat64(change) / toFloat64(open) AS change_ratio
FROM
(
    SELECT
        product_id,
        argMinMerge(state.open) AS first,
        max(state.high) AS high,
        min(state.low) AS low,
        argMaxMerge(state.close) AS last,
        sum(state.volume) AS volume,
        sum(state.quote_volume) AS quote_volume,
        sum(state.trades) AS trades
    FROM candles_1s_state AS state
    WHERE state.time >= since AND state.time < until
    GROUP BY product_id
) AS day
LEFT JOIN
(
    -- Whole days as days: nobody needs to read years of seconds.
    SELECT product_id, argMaxMerge(close) AS price
    FROM
    (
        SELECT product_id, close
        FROM candles_1d_state
        WHERE time < toStartOfDay(since)
        UNION ALL
        SELECT product_id, close
        FROM candles_1s_state
        WHERE time >= toStartOfDay(since) AND time < since
    )
    GROUP BY product_id
) AS before ON before.product_id = day.product_id;

-- What `deno task stats --date` computed: a row per product and day. Figures of a day don't change by themselves: when
-- a hole of a past day was filled, the task is run again and replaces the day.
-- realized_volatility, parkinson, garman_klass: annualized, from 1m candles. max_drawdown: of 1m closes, 0 to -1.
CREATE TABLE IF NOT EXISTS volatility_metrics
(
    date Date,
    product_id LowCardinality(String),
    minutes UInt64,
    returns UInt64,
    trades UInt64,
    volume Decimal(38, 18),
    realized_volatility Float64,
    parkinson Float64,
    garman_klass Float64,
    max_drawdown Float64,
    beta_to_btc Float64,
    order_flow_imbalance Float64,
    mean_trade_size Float64,
    median_trade_size Decimal(38, 18),
    computed_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
PARTITION BY date
ORDER BY (date, product_id);

-- The figures of one product and day as they are now, one row; none when it had no trade on that day.
-- Reader: tasks/stats.ts, which stores them in volatility_metrics.
CREATE VIEW IF NOT EXISTS volatility_metrics_live AS
WITH
    toDateTime64({date:Date}, 6, 'UTC') AS first,
    first + toIntervalDay(1) AS next
SELECT
    {date:Date} AS date,
    candle.product_id AS product_id,
    volatility.minutes AS minutes,
    volatility.returns AS returns,
    candle.trades AS trades,
    candle.volume AS volume,
    volatility.realized_volatility AS realized_volatility,
    volatility.parkinson AS parkinson,
    volatility.garman_klass AS garman_klass,
    worst.max_drawdown AS max_drawdown,
    if(beta.minutes > 0, beta.beta, nan) AS beta_to_btc,
    toFloat64(candle.buy_volume - candle.sell_volume) / toFloat64(candle.buy_volume + candle.sell_volume)
        AS order_flow_imbalance,
    sizes.mean AS mean_trade_size,
    sizes.p50 AS median_trade_size
FROM candles(product = {product:String}, interval = '1d', from = first, to = next) AS candle
CROSS JOIN volatility(product = {product:String}, from = first, to = next) AS volatility
CROSS JOIN trade_sizes(product = {product:String}, from = first, to = next) AS sizes
CROSS JOIN
(
    SELECT min(drawdown) AS max_drawdown
    FROM drawdown(product = {product:String}, interval = '1m', from = first, to = next)
) AS worst
LEFT JOIN beta_to_btc(product = {product:String}, from = first, to = next) AS beta
    ON beta.product_id = candle.product_id;
