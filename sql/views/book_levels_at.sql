-- All levels of a product's book at a moment, in no order: book_levels_at(product = …, at = …). The last change of each
-- level since the epoch's snapshot, as received, among the changes whose time is not after `at`: whole days, hours and
-- ten minutes from their states, the rest from the changes. Readers: the views of the book.
CREATE OR REPLACE VIEW book_levels_at AS
WITH
    -- Connection, first change, and whether there is an epoch: an aggregate has a row in any case.
    (
        SELECT (any(CAST(connection AS String)), any(first_change), count())
        FROM book_epoch_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
    ) AS epoch
SELECT side, price, argMax(changes.size, change) AS size
FROM
(
    SELECT side, price, size, change
    FROM book_levels
    WHERE interval = '1d' AND product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time < toStartOfDay({at:DateTime64(6, 'UTC')})
    UNION ALL
    SELECT side, price, size, change
    FROM book_levels
    WHERE interval = '1h' AND product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time >= toStartOfDay({at:DateTime64(6, 'UTC')}) AND time < toStartOfHour({at:DateTime64(6, 'UTC')})
    UNION ALL
    SELECT side, price, size, change
    FROM book_levels
    WHERE interval = '10m' AND product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time >= toStartOfHour({at:DateTime64(6, 'UTC')})
        AND time < toStartOfInterval({at:DateTime64(6, 'UTC')}, INTERVAL 10 MINUTE)
    UNION ALL
    SELECT side, price, size, kafka_offset * 1048576 + position AS change
    FROM book_changes
    WHERE product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
        AND time >= toStartOfInterval({at:DateTime64(6, 'UTC')}, INTERVAL 10 MINUTE)
        AND time <= {at:DateTime64(6, 'UTC')}
) AS changes
GROUP BY side, price
HAVING size > 0;
