-- Anomalies: what isn't as usual on the tape. docs/anomalies.md has each rule with its formula and source. What people read
-- is the view anomalies: one row per anomaly, kept by `deno task rollup`. anomalies_live computes them from the tape, now.
-- from (included) and to (not included) are times in UTC. Every rule looks back before `from` as far as it needs, so what
-- it says about a moment doesn't depend on `from`.

-- How unusual each traded minute's return and volume are for the product, a row per minute and measure:
--   return  ln(close / close of the traded minute before) / sqrt(minutes between the two)
--   volume  ln(volume)
-- score is the modified z-score (value - median) / scale over the 60 traded minutes before, at most a day old. scale is
-- mad / 0.6745; where mad is 0, sqrt(pi / 2) times the mean of the deviations that aren't 0; and at least 0.0005 (return) or
-- 0.25 (volume). history says how many minutes it rests on; with less than 30 score is NULL. Minutes that aren't over by `to`
-- are left out. Readers: anomalies_live, researchers.
CREATE VIEW IF NOT EXISTS minute_scores AS
SELECT
    {product:String} AS product_id,
    time,
    measure,
    value,
    length(recent) AS history,
    arrayReduce('quantileExactInclusive(0.5)', recent) AS median,
    arrayReduce('quantileExactInclusive(0.5)', arrayMap(other -> abs(other - median), recent) AS deviations) AS mad,
    greatest(
        least_scale,
        multiIf(
            mad > 0, mad / 0.6745,
            arraySum(deviations) > 0, sqrt(pi() / 2) * arrayAvg(arrayFilter(deviation -> deviation > 0, deviations)),
            0
        )
    ) AS scale,
    if(history >= 30, (value - median) / scale, NULL) AS score,
    close,
    previous,
    minutes,
    volume
FROM
(
    SELECT
        *,
        arrayMap(
            other -> other.2,
            arrayFilter(
                other -> other.1 >= time - toIntervalDay(1),
                groupArray((time, value)) OVER (PARTITION BY measure ORDER BY time ROWS BETWEEN 60 PRECEDING AND 1 PRECEDING)
            )
        ) AS recent
    FROM
    (
        SELECT
            time,
            close,
            previous,
            minutes,
            volume,
            measures.1 AS measure,
            measures.2 AS value,
            measures.3 AS least_scale
        FROM
        (
            SELECT
                candle.time AS time,
                candle.close AS close,
                candle.volume AS volume,
                lagInFrame(candle.close) OVER two AS previous,
                dateDiff('minute', lagInFrame(candle.time) OVER two, candle.time) AS minutes
            FROM
            (
                SELECT state.time AS time, argMaxMerge(state.close) AS close, sum(state.volume) AS volume
                FROM candles_1m_state AS state
                WHERE state.product_id = {product:String}
                    AND state.time >= toStartOfMinute({from:DateTime64(6, 'UTC')} - toIntervalDay(3))
                    AND state.time <= {to:DateTime64(6, 'UTC')} - toIntervalMinute(1)
                GROUP BY time
            ) AS candle
            WINDOW two AS (ORDER BY candle.time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
        )
        ARRAY JOIN
        [
            ('return', if(previous > 0 AND minutes <= 1440, log(toFloat64(close) / toFloat64(previous)) / sqrt(minutes), nan), 0.0005),
            ('volume', log(toFloat64(volume)), 0.25)
        ] AS measures
        WHERE isFinite(value)
    )
)
WHERE time >= {from:DateTime64(6, 'UTC')};

-- Each hour's volume against the average hour of the 24 before it (those before the product's first trade of them don't
-- count; at least 12 must be left). The hour that still runs is there too: its volume can only grow.
-- Readers: anomalies_live, researchers.
CREATE VIEW IF NOT EXISTS hour_volumes AS
SELECT
    {product:String} AS product_id,
    time,
    trades,
    volume,
    toUInt32(dateDiff('hour', first_hour, time)) AS hours,
    before / hours AS average,
    toFloat64(volume) / average AS ratio
FROM
(
    SELECT
        candle.time AS time,
        candle.trades AS trades,
        candle.volume AS volume,
        sum(toFloat64(candle.volume)) OVER day AS before,
        min(candle.time) OVER day AS first_hour,
        count() OVER day AS known
    FROM
    (
        SELECT state.time AS time, sum(state.trades) AS trades, sum(state.volume) AS volume
        FROM candles_1h_state AS state
        WHERE state.product_id = {product:String}
            AND state.time >= toStartOfHour({from:DateTime64(6, 'UTC')} - toIntervalDay(1))
            AND state.time < {to:DateTime64(6, 'UTC')}
        GROUP BY time
    ) AS candle
    WINDOW day AS (ORDER BY toUInt32(intDiv(toUnixTimestamp(candle.time), 3600)) RANGE BETWEEN 24 PRECEDING AND 1 PRECEDING)
)
WHERE known > 0 AND hours >= 12 AND time >= toStartOfHour({from:DateTime64(6, 'UTC')});

-- Each minute's spread, weighted by time, against the median of the quoted ones of the 60 minutes before (at least 30).
-- Readers: anomalies_live, Grafana, researchers.
CREATE VIEW IF NOT EXISTS spread_ratios AS
SELECT
    {product:String} AS product_id,
    time,
    spread_bps,
    length(recent) AS history,
    arrayReduce('quantileExactInclusive(0.5)', recent) AS median_bps,
    spread_bps / median_bps AS ratio
FROM
(
    SELECT
        time,
        spread_bps,
        groupArray(spread_bps) OVER
            (ORDER BY toUInt32(intDiv(toUnixTimestamp(time), 60)) RANGE BETWEEN 60 PRECEDING AND 1 PRECEDING) AS recent
    FROM
    (
        SELECT
            toDateTime64(toStartOfMinute(second.time), 6, 'UTC') AS time,
            sum(second.spread_bps * second.covered) / sum(second.covered) AS spread_bps
        FROM spreads_1s(
            product = {product:String},
            from = toStartOfMinute({from:DateTime64(6, 'UTC')}) - toIntervalHour(1),
            to = {to:DateTime64(6, 'UTC')}
        ) AS second
        GROUP BY time
        HAVING sum(second.covered) > 0
    )
)
WHERE time >= {from:DateTime64(6, 'UTC')} AND time <= {to:DateTime64(6, 'UTC')} - toIntervalMinute(1) AND history >= 30;

-- When bid >= ask: in tickers, from the crossed quote to the connection's next quote (at most 60 s), and in book_depth_1s,
-- second by second. bps is how far the bid stood above the ask, of mid. All that touch the range; a crossing that began
-- before `from` is there from its first quote on. until is NULL where the quote still holds at `to`.
-- Reader: anomalies_live.
CREATE VIEW IF NOT EXISTS crossed_quotes AS
WITH
    -- The last quote before the range that isn't crossed: what is crossed after it began before `from`.
    (
        SELECT time
        FROM tickers
        WHERE product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')}
            AND best_bid > 0 AND best_ask > 0 AND best_bid < best_ask
        ORDER BY time DESC
        LIMIT 1
    ) AS uncrossed_quote,
    (
        SELECT time
        FROM book_depth_1s_state
        WHERE product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')} AND spread > 0
        ORDER BY time DESC
        LIMIT 1
    ) AS uncrossed_book
SELECT 'ticker' AS seen_in, time, least(next, time + toIntervalSecond(60)) AS until, bid, ask, bps
FROM
(
    SELECT
        time,
        bid,
        ask,
        20000 * toFloat64(bid - ask) / toFloat64(bid + ask) AS bps,
        leadInFrame(toNullable(time), 1, NULL) OVER
            (PARTITION BY connection ORDER BY time, kafka_offset ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS lead,
        if(lead IS NULL, toDateTime64('2261-01-01', 6, 'UTC'), lead) AS next
    FROM
    (
        SELECT time, kafka_offset, connection, assumeNotNull(best_bid) AS bid, assumeNotNull(best_ask) AS ask
        FROM tickers
        WHERE product_id = {product:String}
            AND time >= ifNull(uncrossed_quote, {from:DateTime64(6, 'UTC')})
            AND time < {to:DateTime64(6, 'UTC')}
            AND best_bid > 0 AND best_ask > 0
    )
)
WHERE bid >= ask
UNION ALL
SELECT 'book' AS seen_in, time, time + toIntervalSecond(1) AS until, assumeNotNull(best_bid), assumeNotNull(best_ask),
    -assumeNotNull(spread_bps)
FROM book_depth_1s_state FINAL
WHERE product_id = {product:String}
    AND time >= ifNull(uncrossed_book, {from:DateTime64(6, 'UTC')})
    AND time < {to:DateTime64(6, 'UTC')}
    AND spread <= 0;

-- The spans without a heartbeat that touch the range, from the last heartbeat before to the first after; until is NULL
-- where none has come by `to`. All that are longer than a second or two; the reader sets the bound.
-- Reader: anomalies_live.
CREATE VIEW IF NOT EXISTS heartbeat_pauses AS
WITH
    (
        SELECT time
        FROM heartbeats
        WHERE product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')}
        ORDER BY time DESC
        LIMIT 1
    ) AS last_before
SELECT
    {product:String} AS product_id,
    time,
    lead AS until,
    dateDiff('microsecond', time, ifNull(lead, {to:DateTime64(6, 'UTC')})) / 1e6 AS seconds
FROM
(
    SELECT
        time,
        leadInFrame(toNullable(time), 1, NULL) OVER (ORDER BY time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS lead
    FROM heartbeats
    WHERE product_id = {product:String}
        AND time >= ifNull(last_before, {from:DateTime64(6, 'UTC')})
        AND time < {to:DateTime64(6, 'UTC')}
)
WHERE seconds > 2;

-- The spans of a minute and more without a trade that touch the range, from the last traded second to the next one (until
-- is NULL where none has come by `to`). heartbeats: in how many seconds of the span the feed was alive. usual_seconds: from
-- one traded second to the next on average, over the day before the hour in which the span begins (since the first trade in
-- it; 0 where that day has less than 60 traded seconds). reported: how many trades the heartbeats told of meanwhile.
-- Reader: anomalies_live.
CREATE VIEW IF NOT EXISTS trade_pauses AS
WITH
    (
        SELECT time
        FROM candles_1s_state
        WHERE product_id = {product:String} AND time < {from:DateTime64(6, 'UTC')}
        ORDER BY time DESC
        LIMIT 1
    ) AS last_before,
    pauses AS
    (
        SELECT time, lead AS until, ifNull(lead, {to:DateTime64(6, 'UTC')}) AS bound
        FROM
        (
            SELECT
                time,
                leadInFrame(toNullable(time), 1, NULL) OVER (ORDER BY time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS lead
            FROM
            (
                SELECT DISTINCT time
                FROM candles_1s_state
                WHERE product_id = {product:String}
                    AND time >= ifNull(last_before, {from:DateTime64(6, 'UTC')})
                    AND time < {to:DateTime64(6, 'UTC')}
            )
        )
        WHERE dateDiff('second', time, bound) >= 60
    ),
    -- Without a pause nothing else is read.
    ifNull((SELECT minOrNull(time) FROM pauses), {to:DateTime64(6, 'UTC')}) AS first_pause
SELECT
    {product:String} AS product_id,
    pause.time AS time,
    pause.until AS until,
    alive.heartbeats AS heartbeats,
    alive.reported AS reported,
    if(usual.seconds >= 60, usual.span / usual.seconds, 0) AS usual_seconds
FROM pauses AS pause
INNER JOIN
(
    SELECT
        pause.time AS time,
        uniqExact(toStartOfSecond(beat.time)) AS heartbeats,
        max(beat.last_trade_id) - min(beat.last_trade_id) AS reported
    FROM
    (
        SELECT 1 AS one, time, last_trade_id
        FROM heartbeats
        WHERE product_id = {product:String} AND time >= first_pause AND time < {to:DateTime64(6, 'UTC')}
    ) AS beat
    ASOF INNER JOIN (SELECT 1 AS one, time, bound FROM pauses) AS pause ON beat.one = pause.one AND beat.time >= pause.time
    WHERE beat.time < pause.bound
    GROUP BY pause.time
) AS alive ON alive.time = pause.time
LEFT JOIN
(
    SELECT hour, count() AS seconds, dateDiff('second', min(traded), hour) AS span
    FROM
    (
        SELECT DISTINCT time AS traded
        FROM candles_1s_state
        WHERE product_id = {product:String}
            AND time >= toStartOfHour(first_pause) - toIntervalDay(1)
            AND time < {to:DateTime64(6, 'UTC')}
    ) AS day
    CROSS JOIN (SELECT DISTINCT toStartOfHour(pauses.time) AS hour FROM pauses) AS hours
    WHERE traded >= hour - toIntervalDay(1) AND traded < hour
    GROUP BY hour
) AS usual ON usual.hour = toStartOfHour(pause.time);

-- The holes of a product's tape that were open in the range, filled ones too: ids first_id to last_id, whatever is filled of
-- them by now. time is that of the trade before the hole. seen_at is when the hole could first be seen: a later trade came, or a
-- heartbeat told of it. until is when its last trade came from REST, NULL while some are missing. History that was
-- fetched from before the tape's beginning is no hole. Reader: anomalies_live.
CREATE VIEW IF NOT EXISTS tape_holes AS
WITH
    -- A scalar is worked out once, where a named subquery would be planned and run once for each mention.
    (
        SELECT groupArray((first_id, last_id, missing, known_time, filled_at))
        FROM
        (
            SELECT
                min(first) AS first_id,
                max(last) AS last_id,
                sum(if(is_open, last - first + 1, 0)) AS missing,
                argMin(after_time, first) AS known_time,
                max(came) AS filled_at
            FROM
            (
                SELECT *, sum(starts) OVER (ORDER BY first, last) AS hole
                FROM
                (
                    SELECT
                        *,
                        first > 1 + max(last) OVER (ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS starts
                    FROM
                    (
                        SELECT
                            toUInt64(first_missing) AS first,
                            toUInt64(last_missing) AS last,
                            true AS is_open,
                            after_time,
                            toDateTime64(0, 6, 'UTC') AS came
                        FROM trade_gaps
                        WHERE product_id = {product:String}
                        UNION ALL
                        SELECT first_trade_id, last_trade_id, false, toDateTime64(0, 6, 'UTC'), last_received_at
                        FROM trade_runs
                        WHERE product_id = {product:String} AND source = 'backfill'
                    )
                )
            )
            GROUP BY hole
            HAVING missing > 0 OR filled_at >= {from:DateTime64(6, 'UTC')}
        )
    ) AS holes,
    (
        SELECT mapFromArrays(groupArray(trade_id), groupArray((time, received_at)))
        FROM trades
        WHERE product_id = {product:String}
            AND trade_id IN (SELECT arrayJoin(arrayFlatten(arrayMap(hole -> [toUInt64(hole.1 - 1), hole.2 + 1], holes))))
    ) AS neighbours,
    -- Behind the trade that the first heartbeat told of, the tape begins.
    (
        SELECT (min(heartbeat.first_last_trade_id), min(heartbeat.first_time))
        FROM heartbeats_range_state AS heartbeat
        WHERE product_id = {product:String}
    ) AS beginning,
    arrayFilter(
        hole -> toUnixTimestamp(hole.5) > 0 AND hole.5 < {to:DateTime64(6, 'UTC')},
        arrayMap(
            hole -> (
                hole.1,
                hole.2,
                hole.3,
                hole.5,
                multiIf(
                    mapContains(neighbours, toUInt64(hole.1 - 1)), neighbours[toUInt64(hole.1 - 1)].1,
                    hole.1 = beginning.1 + 1, beginning.2,
                    hole.4
                ),
                mapContains(neighbours, hole.2 + 1),
                neighbours[hole.2 + 1].2
            ),
            holes
        )
    ) AS placed,
    -- Behind the next trade no heartbeat is the first to tell of a hole (a minute for clocks that differ); without a hole
    -- none is read.
    if(empty(placed), {to:DateTime64(6, 'UTC')}, arrayMin(arrayMap(hole -> hole.5, placed))) AS heard_since,
    arrayMax(arrayMap(
        hole -> if(hole.6, least(hole.7 + toIntervalMinute(1), {to:DateTime64(6, 'UTC')}), {to:DateTime64(6, 'UTC')}),
        placed
    )) AS heard_until
SELECT
    {product:String} AS product_id,
    hole.time AS time,
    hole.first_id AS first_id,
    hole.last_id AS last_id,
    hole.missing AS missing,
    if(hole.missing > 0, NULL, hole.filled_at) AS until,
    least(
        if(hole.has_next, hole.next_received_at, {to:DateTime64(6, 'UTC')}),
        if(heard.last_trade_id > 0, heard.received, {to:DateTime64(6, 'UTC')})
    ) AS seen_at,
    dateDiff('microsecond', seen_at, ifNull(until, {to:DateTime64(6, 'UTC')})) / 1e6 AS seconds
FROM
(
    SELECT 1 AS one, arrayJoin(placed) AS hole, hole.1 AS first_id, hole.2 AS last_id, hole.3 AS missing,
        hole.4 AS filled_at, hole.5 AS time, hole.6 AS has_next, hole.7 AS next_received_at
) AS hole
ASOF LEFT JOIN
(
    SELECT 1 AS one, last_trade_id, min(received_at) AS received
    FROM heartbeats
    WHERE product_id = {product:String} AND time >= heard_since AND time < heard_until
    GROUP BY last_trade_id
) AS heard ON heard.one = hole.one AND hole.first_id <= heard.last_trade_id;

-- The anomalies of a product that touch the range, computed from the tape as it is now, one row each. Parameters:
--   product, from, to
--   price_jump       ratio from one traded minute's close to the next within an hour; 0.05 is 5 %
--   volume_spike     times the average hour of the day before; hours with less than 100 trades don't count
--   z_score          of minute_scores, up or down for returns, up for volumes
--   spread_ratio     times the usual spread of the hour before, which counts as 1 bp at least
--   silence_seconds  without a heartbeat
--   stale_intervals  times the usual time between traded seconds, and a minute at least, with heartbeats and without a trade
--   hole_seconds     that a hole of the tape stays open after it could be seen
-- Columns: score is value / threshold (1 + bps for a crossed market, whose threshold is 0); severity follows from
-- it: info, from 2 warning, from 5 critical. What is unusual again within five minutes is one anomaly, described
-- by its worst moment. end_time is NULL while it goes on.
-- Readers: anomalies_between, the API, researchers who want other thresholds.
CREATE VIEW IF NOT EXISTS anomalies_live AS
WITH
    moments AS
    (
        WITH
            if(minutes = 1, 'a minute', concat(toString(minutes), ' minutes')) AS meanwhile,
            concat(' from ', toString(previous), ' to ', toString(close)) AS both_prices
        SELECT
            kind,
            time,
            time + toIntervalMinute(1) AS until,
            if(kind = 'price_jump', toFloat64(close) / toFloat64(previous) - 1, assumeNotNull(minute.score)) AS value,
            if(kind = 'price_jump', toFloat64({price_jump:Float64}), toFloat64({z_score:Float64})) AS threshold,
            abs(value) / threshold AS score,
            multiIf(
                kind = 'price_jump',
                concat('The price ', if(value > 0, 'rose', 'fell'), ' by ', toString(round(abs(value) * 100, 2)), ' % in ',
                    meanwhile, ',', both_prices, '; the bound is ', toString(round(threshold * 100, 2)), ' %.'),
                kind = 'return_outlier',
                concat('The price ', if(value > 0, 'rose', 'fell'), ' by ',
                    toString(round(abs(toFloat64(close) / toFloat64(previous) - 1) * 100, 3)), ' % in ', meanwhile, ',',
                    both_prices, ': ', toString(round(abs(value), 1)), ' times the usual deviation of the ',
                    toString(history), ' traded minutes before; the bound is ', toString(threshold), '.'),
                concat('A minute\'s volume was ', toString(volume), ', usually ', toString(round(exp(median), 8)),
                    ': its logarithm lies ', toString(round(value, 1)), ' times the usual deviation above that of the ',
                    toString(history), ' traded minutes before; the bound is ', toString(threshold), '.')
            ) AS explanation
        FROM minute_scores(
            product = {product:String},
            from = {from:DateTime64(6, 'UTC')} - toIntervalHour(3),
            to = {to:DateTime64(6, 'UTC')}
        ) AS minute
        ARRAY JOIN arrayFilter(
            name -> name != '',
            [
                if(measure = 'return' AND minutes <= 60
                    AND abs(toFloat64(close) / toFloat64(previous) - 1) >= {price_jump:Float64}, 'price_jump', ''),
                if(measure = 'return' AND ifNull(abs(minute.score) >= {z_score:Float64}, false), 'return_outlier', ''),
                if(measure = 'volume' AND ifNull(minute.score >= {z_score:Float64}, false), 'volume_outlier', '')
            ]
        ) AS kind
        UNION ALL
        SELECT
            'volume_spike' AS kind,
            time,
            time + toIntervalHour(1) AS until,
            ratio AS value,
            toFloat64({volume_spike:Float64}) AS threshold,
            value / threshold AS score,
            concat('An hour\'s volume was ', toString(volume), ' in ', toString(trades), ' trades, ', toString(round(ratio, 1)),
                ' times the average hour of the ', toString(hours), ' before, ', toString(round(average, 8)),
                '; the bound is ', toString(threshold), ' times.') AS explanation
        FROM hour_volumes(
            product = {product:String},
            from = {from:DateTime64(6, 'UTC')} - toIntervalDay(1),
            to = {to:DateTime64(6, 'UTC')}
        )
        WHERE trades >= 100 AND ratio >= threshold
        UNION ALL
        SELECT
            'spread_blowout' AS kind,
            time,
            time + toIntervalMinute(1) AS until,
            spread_bps AS value,
            {spread_ratio:Float64} * greatest(median_bps, 1) AS threshold,
            value / threshold AS score,
            concat('The spread was ', toString(round(spread_bps, 2)), ' bps over a minute, usually ',
                toString(round(median_bps, 4)), ' bps (median of ', toString(history), ' minutes); the bound is ',
                toString(round(threshold, 2)), ' bps.') AS explanation
        FROM spread_ratios(
            product = {product:String},
            from = {from:DateTime64(6, 'UTC')} - toIntervalHour(2),
            to = {to:DateTime64(6, 'UTC')}
        )
        WHERE spread_bps >= threshold
        UNION ALL
        SELECT
            'crossed_market' AS kind,
            time,
            until,
            bps AS value,
            toFloat64(0) AS threshold,
            1 + bps AS score,
            concat('In the ', seen_in, ' the bid ', toString(bid), if(bid = ask, ' was also the ask.', concat(
                ' stood ', toString(round(bps, 4)), ' bps above the ask ', toString(ask), '.'))) AS explanation
        FROM crossed_quotes(
            product = {product:String},
            from = {from:DateTime64(6, 'UTC')} - toIntervalHour(3),
            to = {to:DateTime64(6, 'UTC')}
        )
    )
SELECT
    CAST({product:String} AS LowCardinality(String)) AS product_id,
    CAST(kind AS LowCardinality(String)) AS kind,
    CAST(multiIf(score >= 5, 'critical', score >= 2, 'warning', 'info') AS Enum8('info' = 1, 'warning' = 2, 'critical' = 3))
        AS severity,
    time,
    end_time,
    value,
    threshold,
    score,
    explanation
FROM
(
    SELECT
        kind,
        min(moment.time) AS time,
        if(max(moment.until) > {to:DateTime64(6, 'UTC')}, NULL, max(moment.until)) AS end_time,
        (argMax(
            (moment.value, moment.threshold, moment.score, moment.explanation),
            (moment.score, -toUnixTimestamp64Micro(moment.time))
        ) AS worst).1 AS value,
        worst.2 AS threshold,
        worst.3 AS score,
        worst.4 AS explanation
    FROM
    (
        SELECT *, sum(starts) OVER (PARTITION BY kind ORDER BY time, until) AS episode
        FROM
        (
            SELECT
                *,
                ifNull(time > toIntervalMinute(5) + max(until) OVER
                    (PARTITION BY kind ORDER BY time, until ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS starts
            FROM moments
        )
    ) AS moment
    GROUP BY kind, episode
    HAVING max(moment.until) >= {from:DateTime64(6, 'UTC')}
    UNION ALL
    SELECT
        'silence' AS kind,
        time,
        until AS end_time,
        seconds AS value,
        toFloat64({silence_seconds:Float64}) AS threshold,
        value / threshold AS score,
        concat('No heartbeat for ', toString(round(seconds, 1)), ' s after ', toString(time),
            '; usually one comes every second, the bound is ', toString(threshold), ' s.') AS explanation
    FROM heartbeat_pauses(
        product = {product:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    )
    WHERE seconds >= threshold
    UNION ALL
    SELECT
        'stale_price' AS kind,
        time,
        until AS end_time,
        toFloat64(heartbeats) AS value,
        greatest(60, {stale_intervals:Float64} * usual_seconds) AS threshold,
        value / threshold AS score,
        concat('No trade after ', toString(time), ' while heartbeats came in ', toString(heartbeats),
            ' seconds; usually one comes every ', toString(round(usual_seconds, 1)), ' s, the bound is ',
            toString(round(threshold, 1)), ' s. The heartbeats told of ', toString(reported), ' trades meanwhile.') AS explanation
    FROM trade_pauses(
        product = {product:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    )
    WHERE usual_seconds > 0 AND heartbeats >= threshold
    UNION ALL
    SELECT
        'tape_hole' AS kind,
        time,
        until AS end_time,
        seconds AS value,
        toFloat64({hole_seconds:Float64}) AS threshold,
        value / threshold AS score,
        concat(toString(last_id - first_id + 1), if(first_id = last_id, ' trade, id ', ' trades, ids '), toString(first_id),
            if(first_id = last_id, '', concat(' to ', toString(last_id))), ', ',
            if(missing = 0, concat('came from REST ', toString(round(seconds, 1)), ' s after they were missed'),
                concat('were missed ', toString(round(seconds, 1)), ' s ago and ',
                    if(missing = last_id - first_id + 1, 'all', toString(missing)), ' are missing still')),
            '; the bound is ', toString(threshold), ' s.') AS explanation
    FROM tape_holes(
        product = {product:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    )
    WHERE seconds >= threshold
)
WHERE {from:DateTime64(6, 'UTC')} < {to:DateTime64(6, 'UTC')};

-- anomalies_live with the usual thresholds, which are those of lib/rollup.ts too: what is stored in anomalies.
-- Readers: researchers, Grafana, the API.
CREATE VIEW IF NOT EXISTS anomalies_between AS
SELECT *
FROM anomalies_live(
    product = {product:String},
    from = {from:DateTime64(6, 'UTC')},
    to = {to:DateTime64(6, 'UTC')},
    price_jump = 0.05,
    volume_spike = 3,
    z_score = 10,
    spread_ratio = 5,
    silence_seconds = 10,
    stale_intervals = 60,
    hole_seconds = 30
);

-- Each anomaly once, by product, kind and start; the newest row counts. One that a later look at the same time didn't find
-- any more (a hole was filled, late rows came) stays here with is_withdrawn = true. Reader: the view anomalies.
CREATE TABLE IF NOT EXISTS anomalies_state
(
    product_id LowCardinality(String),
    kind LowCardinality(String),
    severity Enum8('info' = 1, 'warning' = 2, 'critical' = 3),
    time DateTime64(6, 'UTC'),
    end_time Nullable(DateTime64(6, 'UTC')),
    value Float64,
    threshold Float64,
    score Float64,
    explanation String,
    detected_at DateTime64(6, 'UTC'),
    updated_at DateTime64(6, 'UTC') DEFAULT now64(6),
    is_withdrawn Bool DEFAULT false
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(time)
ORDER BY (product_id, kind, time);

-- What isn't as usual on the tape, one row per anomaly, ever. time and end_time: its start and its end, NULL while it goes on.
-- score: how many times the threshold; severity: info, from 2 warning, from 5 critical. explanation: a sentence with the
-- numbers. detected_at: when it was found first. Readers: Grafana, the API, Airflow, people.
CREATE VIEW IF NOT EXISTS anomalies AS
SELECT * EXCEPT is_withdrawn
FROM anomalies_state FINAL
WHERE NOT is_withdrawn;

-- How far `deno task rollup` has looked for anomalies, per product. Reader: lib/rollup.ts.
CREATE TABLE IF NOT EXISTS anomalies_checked
(
    product_id LowCardinality(String),
    checked_to DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(checked_to)
ORDER BY product_id;
