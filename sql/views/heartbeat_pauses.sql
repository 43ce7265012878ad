-- The spans without a heartbeat that touch the range, from the last heartbeat before to the first after; until is NULL
-- where none has come by `to`. All that are longer than a second or two; the reader sets the bound.
-- Reader: anomalies_live.
CREATE OR REPLACE VIEW heartbeat_pauses AS
WITH
    (
        SELECT time
        FROM heartbeats
        WHERE product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')}
        ORDER BY time DESC
        LIMIT 1
    ) AS last_before
SELECT
    {product:String} AS product_id,
    time,
    lead AS until,
    dateDiff('microsecond', time, ifNull(lead, {to:DateTime64(6, 'UTC')})) / 1e6 AS seconds
FROM
(
    SELECT
        time,
        leadInFrame(toNullable(time), 1, NULL) OVER (ORDER BY time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS lead
    FROM heartbeats
    WHERE product_id = {product:String}
        AND time >= ifNull(last_before, {from:DateTime64(6, 'UTC')})
        AND time < {to:DateTime64(6, 'UTC')}
)
WHERE seconds > 2;
