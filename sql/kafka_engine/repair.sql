-- When ClickHouse was killed under the Kafka engine, trades may be stored of which a candle or trade_runs don't know. This
-- makes both anew from trades. Run it while neither the engine nor consumer.ts nor a replay writes, and before consumer.ts
-- starts, which trusts trade_runs: `clickhouse client --database market --queries-file sql/kafka_engine/repair.sql`.
-- It may be repeated. While it runs, candles and completeness show less than there is.
TRUNCATE TABLE candles_1s_state;

TRUNCATE TABLE candles_1m_state;

TRUNCATE TABLE candles_1h_state;

TRUNCATE TABLE candles_1d_state;

-- The select of candles_1s_mv; the minute, the hour and the day follow by their own views.
INSERT INTO candles_1s_state
SELECT
    product_id,
    toStartOfSecond(trades.time) AS time,
    argMinState(price, trade_id) AS open,
    max(price) AS high,
    min(price) AS low,
    argMaxState(price, trade_id) AS close,
    sum(size) AS volume,
    sum(toDecimal256(price, 18) * toDecimal256(size, 18)) AS quote_volume,
    sumIf(size, taker_side = 'buy') AS buy_volume,
    sumIf(size, taker_side = 'sell') AS sell_volume,
    count() AS trades
FROM trades
GROUP BY product_id, time
SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0;

TRUNCATE TABLE trade_runs;

-- The select of trade_runs_mv, over all trades.
INSERT INTO trade_runs
SELECT
    product_id,
    min(trade_id) AS first_trade_id,
    max(trade_id) AS last_trade_id,
    argMin(ranked.time, trade_id) AS first_time,
    argMax(ranked.time, trade_id) AS last_time,
    min(received_at) AS first_received_at,
    max(received_at) AS last_received_at,
    source,
    'repaired' AS batch
FROM
(
    SELECT
        product_id,
        trade_id,
        time,
        received_at,
        source,
        trade_id - row_number() OVER (PARTITION BY product_id, source ORDER BY trade_id) AS run
    FROM trades
) AS ranked
GROUP BY product_id, source, run
SETTINGS insert_deduplicate = 0;
