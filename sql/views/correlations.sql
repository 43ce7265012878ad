-- The correlation matrix of products: Pearson's, of their 1m log returns in the minutes where both have one (minutes).
-- Every ordered pair has a row, each product with itself too.
CREATE OR REPLACE VIEW correlations AS
SELECT
    x.product_id AS product_x,
    y.product_id AS product_y,
    count() AS minutes,
    corrStable(x.log_return, y.log_return) AS correlation
FROM log_returns(
    products = {products:Array(String)},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS x
INNER JOIN log_returns(
    products = {products:Array(String)},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS y ON y.time = x.time
GROUP BY product_x, product_y;
