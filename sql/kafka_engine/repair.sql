-- When ClickHouse was killed under the Kafka engine, trades may be stored of which a candle or trade_runs don't know. This
-- makes both anew from trades. Run it while neither the engine nor consumer.ts nor a replay writes, and before consumer.ts
-- starts, which trusts trade_runs: `clickhouse client --database market --queries-file sql/kafka_engine/repair.sql`.
-- It may be repeated. While it runs, candles and completeness show less than there is.
TRUNCATE TABLE candle_states;

-- The select of candle_states_mv.
INSERT INTO candle_states
SELECT
    interval,
    product_id,
    fromUnixTimestamp64Micro(intDiv(toUnixTimestamp64Micro(second.time), micros) * micros, 'UTC') AS time,
    argMinMergeState(second.open) AS open,
    max(second.high) AS high,
    min(second.low) AS low,
    argMaxMergeState(second.close) AS close,
    sum(second.volume) AS volume,
    sum(second.quote_volume) AS quote_volume,
    sum(second.buy_volume) AS buy_volume,
    sum(second.sell_volume) AS sell_volume,
    sum(second.trades) AS trades
FROM
(
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
) AS second
ARRAY JOIN
    ['1s', '1m', '1h', '1d'] AS interval,
    [1000000, 60000000, 3600000000, 86400000000] AS micros
GROUP BY interval, product_id, time
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
