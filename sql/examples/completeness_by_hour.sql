-- How many of the trades that the exchange made are stored, per product and hour, incomplete hours first.
-- param from DateTime64(6, 'UTC') = newest - 24h  (from this time on)
-- param to DateTime64(6, 'UTC') = newest  (up to, but without, this time)

SELECT *
FROM completeness
WHERE hour >= toStartOfHour({from:DateTime64(6, 'UTC')}) AND hour < {to:DateTime64(6, 'UTC')}
ORDER BY status = 'incomplete' DESC, hour DESC, product_id;
