-- When the book of a product is known, per connection: from a snapshot (valid_from) to the last change that is stored before
-- the connection's end, to its next snapshot, or to a lost frame (valid_to, both included, the exchange's clock). Outside of
-- all epochs the views of the book are empty. ended_by says why it ends: snapshot, disconnected, lost frame, or open: no end
-- is known, the connection goes on or its producer was killed. reason is what the producer said. first_change is the
-- number of the snapshot's first row (book_levels.change).
-- Readers: the views of the book, the consumer, rollup.ts, the API, people who ask why a book is empty.
CREATE OR REPLACE VIEW book_epochs AS
SELECT
    product_id,
    connection,
    valid_from,
    if(ended_by = 'lost frame', least(stored_to, loss.2 - INTERVAL 1 MICROSECOND), stored_to) AS valid_to,
    multiIf(
        toUnixTimestamp64Micro(loss.1) != 0, 'lost frame',
        has_next, 'snapshot',
        disconnected, 'disconnected',
        'open'
    ) AS ended_by,
    multiIf(ended_by = 'lost frame', loss.3, ended_by = 'disconnected', reason_of_end, '') AS reason,
    levels,
    first_change
FROM
(
    SELECT
        snapshots.product_id AS product_id,
        snapshots.connection AS connection,
        snapshots.time AS valid_from,
        if(has_next, next_time - INTERVAL 1 MICROSECOND, stored.last_time) AS stored_to,
        snapshots.has_next AS has_next,
        snapshots.levels AS levels,
        snapshots.kafka_offset * 1048576 AS first_change,
        ends.known AS disconnected,
        ends.reason AS reason_of_end,
        -- The first loss after the snapshot and before the next one, in the order of arrival; empty values where there is none.
        arrayFirst(
            lost -> lost.1 >= snapshots.received_at
                AND (NOT snapshots.has_next OR lost.1 < snapshots.next_received_at)
                AND lost.4 IN ('', snapshots.product_id),
            losses.list
        ) AS loss
    FROM
    (
        SELECT
            product_id,
            connection,
            kafka_offset,
            time,
            received_at,
            levels,
            leadInFrame(true, 1, false) OVER later AS has_next,
            leadInFrame(time) OVER later AS next_time,
            leadInFrame(received_at) OVER later AS next_received_at
        FROM book_snapshots FINAL
        WINDOW later AS
        (
            PARTITION BY product_id, connection
            ORDER BY kafka_offset
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        )
    ) AS snapshots
    LEFT JOIN
    (
        SELECT product_id, connection, max(state.last_time) AS last_time
        FROM book_connections_state AS state
        GROUP BY product_id, connection
    ) AS stored ON stored.product_id = snapshots.product_id AND stored.connection = snapshots.connection
    LEFT JOIN
    (
        SELECT product_id, connection, true AS known, any(feed_events.reason) AS reason
        FROM feed_events
        WHERE event = 'disconnected'
        GROUP BY product_id, connection
    ) AS ends ON ends.product_id = snapshots.product_id AND ends.connection = snapshots.connection
    LEFT JOIN
    (
        SELECT connection, arraySort(groupArray((received_at, time, reason, product_id))) AS list
        FROM book_losses
        GROUP BY connection
    ) AS losses ON losses.connection = snapshots.connection
);
