-- How products move together: the correlation of their 1m log returns, each pair.
-- param products Array(String) = BTC-USD,ETH-USD  (which products)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT *
FROM correlations(products = {products:Array(String)}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')})
ORDER BY product_x, product_y;
