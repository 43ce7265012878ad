-- Each minute's spread, weighted by time, against the median of the quoted ones of the 60 minutes before (at least 30).
-- Readers: anomalies_live, researchers.
CREATE OR REPLACE VIEW spread_ratios AS
SELECT
    {product:String} AS product_id,
    time,
    spread_bps,
    length(recent) AS history,
    arrayReduce('quantileExactInclusive(0.5)', recent) AS median_bps,
    spread_bps / median_bps AS ratio
FROM
(
    SELECT
        time,
        spread_bps,
        groupArray(spread_bps) OVER
            (ORDER BY toUInt32(intDiv(toUnixTimestamp(time), 60)) RANGE BETWEEN 60 PRECEDING AND 1 PRECEDING) AS recent
    FROM
    (
        SELECT
            toDateTime64(toStartOfMinute(second.time), 6, 'UTC') AS time,
            sum(second.spread_bps * second.covered) / sum(second.covered) AS spread_bps
        FROM spreads_1s(
            product = {product:String},
            from = toStartOfMinute({from:DateTime64(6, 'UTC')}) - toIntervalHour(1),
            to = {to:DateTime64(6, 'UTC')}
        ) AS second
        GROUP BY time
        HAVING sum(second.covered) > 0
    )
)
WHERE time >= {from:DateTime64(6, 'UTC')} AND time <= {to:DateTime64(6, 'UTC')} - toIntervalMinute(1) AND history >= 30;
