-- The distribution of a product's trade sizes: mean and quantiles, each a size that was traded.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT *
FROM trade_sizes(product = {product:String}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')});
