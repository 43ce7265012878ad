-- How much a product moves when BTC-USD moves by one: covariance of their 1m log returns over BTC-USD's variance.
-- No row where the two share no minute.
CREATE OR REPLACE VIEW beta_to_btc AS
SELECT
    {product:String} AS product_id,
    count() AS minutes,
    covarPopStable(own.log_return, btc.log_return) / varPopStable(btc.log_return) AS beta
FROM log_returns(
    products = [{product:String}],
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS own
INNER JOIN log_returns(
    products = ['BTC-USD'],
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')}
) AS btc ON btc.time = own.time
GROUP BY product_id;
