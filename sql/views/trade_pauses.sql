-- The spans of a minute and more without a trade that touch the range, from the last traded second to the next one (until
-- is NULL where none has come by `to`). heartbeats: in how many seconds of the span the feed was alive. usual_seconds: from
-- one traded second to the next on average, over the day before the hour in which the span begins (since the first trade in
-- it; 0 where that day has less than 60 traded seconds). reported: how many trades the heartbeats told of meanwhile.
-- Reader: anomalies_live.
CREATE OR REPLACE VIEW trade_pauses AS
WITH
    (
        SELECT time
        FROM candle_states
        WHERE interval = '1s' AND product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')}
        ORDER BY time DESC
        LIMIT 1
    ) AS last_before,
    pauses AS
    (
        SELECT time, lead AS until, ifNull(lead, {to:DateTime64(6, 'UTC')}) AS bound
        FROM
        (
            SELECT
                time,
                leadInFrame(toNullable(time), 1, NULL) OVER (ORDER BY time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS lead
            FROM
            (
                SELECT DISTINCT time
                FROM candle_states
                WHERE interval = '1s'
                    AND product_id = {product:String}
                    AND time >= ifNull(last_before, {from:DateTime64(6, 'UTC')})
                    AND time < {to:DateTime64(6, 'UTC')}
            )
        )
        WHERE dateDiff('second', time, bound) >= 60
    ),
    -- Without a pause nothing else is read.
    ifNull((SELECT minOrNull(time) FROM pauses), {to:DateTime64(6, 'UTC')}) AS first_pause
SELECT
    {product:String} AS product_id,
    pause.time AS time,
    pause.until AS until,
    alive.heartbeats AS heartbeats,
    alive.reported AS reported,
    if(usual.seconds >= 60, usual.span / usual.seconds, 0) AS usual_seconds
FROM pauses AS pause
INNER JOIN
(
    SELECT
        pause.time AS time,
        uniqExact(toStartOfSecond(beat.time)) AS heartbeats,
        max(beat.last_trade_id) - min(beat.last_trade_id) AS reported
    FROM
    (
        SELECT 1 AS one, time, last_trade_id
        FROM heartbeats
        WHERE product_id = {product:String} AND time >= first_pause AND time < {to:DateTime64(6, 'UTC')}
    ) AS beat
    ASOF INNER JOIN (SELECT 1 AS one, time, bound FROM pauses) AS pause ON beat.one = pause.one AND beat.time >= pause.time
    WHERE beat.time < pause.bound
    GROUP BY pause.time
) AS alive ON alive.time = pause.time
LEFT JOIN
(
    SELECT hour, count() AS seconds, dateDiff('second', min(traded), hour) AS span
    FROM
    (
        SELECT DISTINCT time AS traded
        FROM candle_states
        WHERE interval = '1s'
            AND product_id = {product:String}
            AND time >= toStartOfHour(first_pause) - toIntervalDay(1)
            AND time < {to:DateTime64(6, 'UTC')}
    ) AS day
    CROSS JOIN (SELECT DISTINCT toStartOfHour(pauses.time) AS hour FROM pauses) AS hours
    WHERE traded >= hour - toIntervalDay(1) AND traded < hour
    GROUP BY hour
) AS usual ON usual.hour = toStartOfHour(pause.time);
