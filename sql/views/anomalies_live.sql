-- The anomalies of a product that touch the range, computed from the tape as it is now, one row each. Parameters:
--   product, from, to
--   price_jump       ratio from one traded minute's close to the next within an hour; 0.05 is 5 %
--   volume_spike     times the average hour of the day before; hours with less than 100 trades don't count
--   z_score          of minute_scores, up or down for returns, up for volumes
--   spread_ratio     times the usual spread of the hour before, which counts as 1 bp at least
--   silence_seconds  without a heartbeat
--   stale_intervals  times the usual time between traded seconds, and a minute at least, with heartbeats and without a trade
--   gap_seconds     that a gap of the tape stays open after it could be seen
-- Columns: score is value / threshold (1 + bps for a crossed market, whose threshold is 0); severity follows from
-- it: info, from 2 warning, from 5 critical. What is unusual again within five minutes is one anomaly, described
-- by its worst moment. end_time is NULL while it goes on.
-- Readers: rollup.ts, anomalies_between, researchers who want other thresholds.
CREATE OR REPLACE VIEW anomalies_live AS
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
        'tape_gap' AS kind,
        time,
        until AS end_time,
        seconds AS value,
        toFloat64({gap_seconds:Float64}) AS threshold,
        value / threshold AS score,
        concat(toString(last_id - first_id + 1), if(first_id = last_id, ' trade, id ', ' trades, ids '), toString(first_id),
            if(first_id = last_id, '', concat(' to ', toString(last_id))), ', ',
            if(missing = 0, concat('came from REST ', toString(round(seconds, 1)), ' s after they were missed'),
                concat('were missed ', toString(round(seconds, 1)), ' s ago and ',
                    if(missing = last_id - first_id + 1, 'all', toString(missing)), ' are missing still')),
            '; the bound is ', toString(threshold), ' s.') AS explanation
    FROM tape_gaps(
        product = {product:String},
        from = {from:DateTime64(6, 'UTC')},
        to = {to:DateTime64(6, 'UTC')}
    )
    WHERE seconds >= threshold
)
WHERE {from:DateTime64(6, 'UTC')} < {to:DateTime64(6, 'UTC')};
