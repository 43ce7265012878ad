-- How unusual each traded minute's return and volume are for the product, a row per minute and measure:
--   return  ln(close / close of the traded minute before) / sqrt(minutes between the two)
--   volume  ln(volume)
-- score is the modified z-score (value - median) / scale over the 60 traded minutes before, at most a day old. scale is
-- mad / 0.6745; where mad is 0, sqrt(pi / 2) times the mean of the deviations that aren't 0; and at least 0.0005 (return) or
-- 0.25 (volume). history says how many minutes it rests on; with less than 30 score is NULL. Minutes that aren't over by `to`
-- are left out. Readers: anomalies_live, researchers.
CREATE OR REPLACE VIEW minute_scores AS
SELECT
    {product:String} AS product_id,
    time,
    measure,
    value,
    length(recent) AS history,
    arrayReduce('quantileExactInclusive(0.5)', recent) AS median,
    arrayReduce('quantileExactInclusive(0.5)', arrayMap(other -> abs(other - median), recent) AS deviations) AS mad,
    greatest(
        least_scale,
        multiIf(
            mad > 0, mad / 0.6745,
            arraySum(deviations) > 0, sqrt(pi() / 2) * arrayAvg(arrayFilter(deviation -> deviation > 0, deviations)),
            0
        )
    ) AS scale,
    if(history >= 30, (value - median) / scale, NULL) AS score,
    close,
    previous,
    minutes,
    volume
FROM
(
    SELECT
        *,
        arrayMap(
            other -> other.2,
            arrayFilter(
                other -> other.1 >= time - toIntervalDay(1),
                groupArray((time, value)) OVER (PARTITION BY measure ORDER BY time ROWS BETWEEN 60 PRECEDING AND 1 PRECEDING)
            )
        ) AS recent
    FROM
    (
        SELECT
            time,
            close,
            previous,
            minutes,
            volume,
            measures.1 AS measure,
            measures.2 AS value,
            measures.3 AS least_scale
        FROM
        (
            SELECT
                candle.time AS time,
                candle.close AS close,
                candle.volume AS volume,
                lagInFrame(candle.close) OVER two AS previous,
                dateDiff('minute', lagInFrame(candle.time) OVER two, candle.time) AS minutes
            FROM
            (
                SELECT state.time AS time, argMaxMerge(state.close) AS close, sum(state.volume) AS volume
                FROM candle_states AS state
                WHERE state.interval = '1m'
                    AND state.product_id = {product:String}
                    AND state.time >= toStartOfMinute({from:DateTime64(6, 'UTC')} - toIntervalDay(3))
                    AND state.time <= {to:DateTime64(6, 'UTC')} - toIntervalMinute(1)
                GROUP BY time
            ) AS candle
            WINDOW two AS (ORDER BY candle.time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
        )
        ARRAY JOIN
        [
            ('return', if(previous > 0 AND minutes <= 1440, log(toFloat64(close) / toFloat64(previous)) / sqrt(minutes), nan), 0.0005),
            ('volume', log(toFloat64(volume)), 0.25)
        ] AS measures
        WHERE isFinite(value)
    )
)
WHERE time >= {from:DateTime64(6, 'UTC')};
