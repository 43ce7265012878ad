-- The best levels of a product's book at a moment: book_at(product = …, at = …, depth = …), best first, level 1 is the
-- best. Empty where the book isn't known: see book_epochs. Readers: the API, researchers.
CREATE OR REPLACE VIEW book_at AS
SELECT side, level, price, size
FROM
(
    SELECT
        side,
        price,
        size,
        row_number() OVER (PARTITION BY side ORDER BY if(side = 'bid', -price, price)) AS level
    FROM book_levels_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')})
)
WHERE level <= {depth:UInt32}
ORDER BY side, level;
