-- What `deno task stats --date` computed: a row per product and day. Figures of a day don't change by themselves: when
-- a gap of a past day was filled, the task is run again and replaces the day.
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

-- Each anomaly once, by product, kind and start; the newest row counts. One that a later look at the same time didn't find
-- any more (a gap was filled, late rows came) stays here with is_withdrawn = true. Reader: the view anomalies.
CREATE TABLE IF NOT EXISTS anomalies_state
(
    product_id LowCardinality(String),
    kind LowCardinality(String),
    severity Enum8('info' = 1, 'warning' = 2, 'critical' = 3),
    time DateTime64(6, 'UTC'),
    end_time Nullable(DateTime64(6, 'UTC')),
    value Float64,
    threshold Float64,
    score Float64,
    explanation String,
    detected_at DateTime64(6, 'UTC'),
    updated_at DateTime64(6, 'UTC') DEFAULT now64(6),
    is_withdrawn Bool DEFAULT false
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, kind, time);

-- How far `deno task rollup` has looked for anomalies, per product. Reader: lib/ops/rollup.ts.
CREATE TABLE IF NOT EXISTS anomalies_checked
(
    product_id LowCardinality(String),
    checked_to DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(checked_to)
ORDER BY product_id;
