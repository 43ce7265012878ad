-- Which columns of a table take the space, as far as its parts tell (small parts don't).
-- param table String = trades  (which table)

SELECT
    column,
    sum(column_data_compressed_bytes) AS bytes,
    bytes / sum(rows) AS bytes_per_row,
    100 * bytes / sum(bytes) OVER () AS percent,
    sum(column_data_uncompressed_bytes) / bytes AS compression
FROM system.parts_columns
WHERE database = currentDatabase() AND table = {table:String} AND active AND rows > 0
GROUP BY column
HAVING bytes > 0
ORDER BY bytes DESC, column;
