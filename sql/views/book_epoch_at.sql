-- The epoch in which the book of a product is read at a moment: of those that hold it the one with the newest snapshot.
-- One row, or none where the book isn't known. Readers: the views of the book.
CREATE OR REPLACE VIEW book_epoch_at AS
SELECT *
FROM book_epochs
WHERE product_id = {product:String}
    AND valid_from <= {at:DateTime64(6, 'UTC')}
    AND valid_to >= {at:DateTime64(6, 'UTC')}
ORDER BY valid_from DESC, connection
LIMIT 1;
