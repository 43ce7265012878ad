-- Every product with its increments and trading status, as the exchange said last.
CREATE OR REPLACE VIEW products AS
SELECT *
FROM products_state FINAL;
