-- Three estimates of a product's annualized volatility from its 1m candles, one row. A minute without trades counts
-- with the return and the range 0. The first return goes from the close before the range; where the product's first
-- trade lies in the range, there is one return less than minutes. No row where no price is known.
CREATE OR REPLACE VIEW volatility AS
WITH 365 * 24 * 60 AS minutes_per_year
SELECT
    product_id,
    count() AS minutes,
    countIf(previous > 0) AS returns,
    sqrt(avgIf(pow(log(close / previous), 2), previous > 0) * minutes_per_year) AS realized_volatility,
    sqrt(avg(pow(log(high / low), 2)) / (4 * log(2)) * minutes_per_year) AS parkinson,
    sqrt(avg(0.5 * pow(log(high / low), 2) - (2 * log(2) - 1) * pow(log(close / open), 2)) * minutes_per_year)
        AS garman_klass
FROM
(
    SELECT
        product_id,
        time,
        toFloat64(candle.open) AS open,
        toFloat64(candle.high) AS high,
        toFloat64(candle.low) AS low,
        toFloat64(candle.close) AS close,
        lagInFrame(toFloat64(candle.close)) OVER (ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
    FROM candles_filled(
        product = {product:String},
        interval = '1m',
        from = {from:DateTime64(6, 'UTC')} - toIntervalMinute(1),
        to = {to:DateTime64(6, 'UTC')}
    ) AS candle
)
WHERE time >= toStartOfMinute({from:DateTime64(6, 'UTC')}) AND {from:DateTime64(6, 'UTC')} < {to:DateTime64(6, 'UTC')}
GROUP BY product_id;
