-- How much a product moves when BTC-USD moves by one (1m log returns).
-- param product String = ETH-USD  (which product)
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT *
FROM beta_to_btc(product = {product:String}, from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')});
