-- How many rows came per second, by minute and table, on average and in the busiest second.
-- param from DateTime64(6, 'UTC') = newest - 1h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT
    toStartOfMinute(second) AS minute,
    name AS table,
    sum(rows) AS minute_rows,
    minute_rows / 60 AS rows_per_second,
    max(rows) AS busiest_second
FROM
(
    SELECT 'trades' AS name, toStartOfSecond(time) AS second, count() AS rows
    FROM trades
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
    GROUP BY second
    UNION ALL
    SELECT 'tickers', toStartOfSecond(time) AS second, count()
    FROM tickers
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
    GROUP BY second
    UNION ALL
    SELECT 'heartbeats', toStartOfSecond(time) AS second, count()
    FROM heartbeats
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
    GROUP BY second
    UNION ALL
    SELECT 'book_changes', toStartOfSecond(time) AS second, count()
    FROM book_changes
    WHERE time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}
    GROUP BY second
)
GROUP BY minute, table
ORDER BY minute, table;
