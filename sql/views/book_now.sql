-- The newest known book of a product, as book_at: book_now(product = …, depth = …). time is its last change: how old the
-- book is. Empty while no connection has a book. The states of the days are always complete, so the changes themselves
-- aren't read. Reader: the API.
CREATE OR REPLACE VIEW book_now AS
WITH
    (
        SELECT (any(CAST(connection AS String)), any(first_change), count(), any(valid_to))
        FROM book_epoch_now(product = {product:String})
    ) AS epoch
SELECT side, level, price, size, epoch.4 AS time
FROM
(
    SELECT
        side,
        price,
        argMax(levels.size, change) AS size,
        row_number() OVER (PARTITION BY side ORDER BY if(side = 'bid', -price, price)) AS level
    FROM book_levels AS levels
    WHERE interval = '1d' AND product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
    GROUP BY side, price
    HAVING size > 0
)
WHERE level <= {depth:UInt32}
ORDER BY side, level;
