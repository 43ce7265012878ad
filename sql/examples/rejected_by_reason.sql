-- What failed validation and why, with one example of each reason.

SELECT
    reason,
    count() AS messages,
    min(received_at) AS first,
    max(received_at) AS last,
    argMax(substring(raw, 1, 200), received_at) AS newest_example
FROM rejected
GROUP BY reason
ORDER BY messages DESC, reason;
