-- The epoch of a product's newest stored change, while its connection goes on. One row or none.
-- Readers: the view book_now, the live stream.
CREATE OR REPLACE VIEW book_epoch_now AS
SELECT *
FROM
(
    SELECT *
    FROM book_epochs
    WHERE product_id = {product:String}
    ORDER BY valid_to DESC, valid_from DESC, connection
    LIMIT 1
)
WHERE ended_by = 'open';
