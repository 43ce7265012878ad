-- What each table takes on disk: rows, bytes, bytes per row, and how well it is compressed.

SELECT
    table,
    sum(parts.rows) AS rows,
    sum(bytes_on_disk) AS bytes,
    formatReadableSize(bytes) AS size,
    bytes / rows AS bytes_per_row,
    sum(data_uncompressed_bytes) / sum(data_compressed_bytes) AS compression,
    count() AS parts
FROM system.parts AS parts
WHERE database = currentDatabase() AND active AND parts.rows > 0
GROUP BY table
ORDER BY bytes DESC, table;
