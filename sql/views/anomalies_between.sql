-- anomalies_live with the usual thresholds: what is stored in anomalies.
-- Readers: researchers.
CREATE OR REPLACE VIEW anomalies_between AS
WITH (SELECT * FROM thresholds) AS usual
SELECT *
FROM anomalies_live(
    product = {product:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')},
    price_jump = tupleElement(usual, 'price_jump'),
    volume_spike = tupleElement(usual, 'volume_spike'),
    z_score = tupleElement(usual, 'z_score'),
    spread_ratio = tupleElement(usual, 'spread_ratio'),
    silence_seconds = tupleElement(usual, 'silence_seconds'),
    stale_intervals = tupleElement(usual, 'stale_intervals'),
    gap_seconds = tupleElement(usual, 'gap_seconds')
);
