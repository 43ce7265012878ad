-- The usual thresholds of anomalies, one row; what each means is said at anomalies_live.
-- Readers: anomalies_between, rollup.ts.
CREATE OR REPLACE VIEW thresholds AS
SELECT
    toFloat64(0.05) AS price_jump,
    toFloat64(3) AS volume_spike,
    toFloat64(10) AS z_score,
    toFloat64(5) AS spread_ratio,
    toFloat64(10) AS silence_seconds,
    toFloat64(60) AS stale_intervals,
    toFloat64(30) AS gap_seconds;
