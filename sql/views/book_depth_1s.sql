-- Best prices, depth, imbalance and microprice at the start of each second, as far as a task has filled them; seconds in
-- which the book wasn't known are missing. Readers: researchers.
CREATE OR REPLACE VIEW book_depth_1s AS
SELECT * EXCEPT computed_at
FROM book_depth_1s_state FINAL;
