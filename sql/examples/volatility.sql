-- The annualized volatility of a product by three estimators: realized, Parkinson, Garman-Klass.
-- param product String = BTC-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT *
FROM volatility(product = {product:String}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')});
