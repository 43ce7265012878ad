-- What isn't as usual on the tape, one row per anomaly, ever. time and end_time: its start and its end, NULL while it goes on.
-- score: how many times the threshold; severity: info, from 2 warning, from 5 critical. explanation: a sentence with the
-- numbers. detected_at: when it was found first. Readers: the API, the live stream, people.
CREATE OR REPLACE VIEW anomalies AS
SELECT * EXCEPT is_withdrawn
FROM anomalies_state FINAL
WHERE NOT is_withdrawn;
