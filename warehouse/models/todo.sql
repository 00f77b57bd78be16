-- todo: one row per (seconds, source, symbol, ts): windows that a touched bar lies in and that are closed.
-- Reads `touched` (anchored bars), `clocks` (source, until_ts), `closing` and `series_now`; $widths are in seconds.
SELECT DISTINCT seconds, source, symbol, ts, end_ts
FROM (
    SELECT seconds, source, symbol,
           anchor + to_seconds((epoch(touched.ts - anchor)::BIGINT // seconds) * seconds) AS ts,
           least(anchor + to_seconds((epoch(touched.ts - anchor)::BIGINT // seconds + 1) * seconds), closes) AS end_ts
    FROM touched CROSS JOIN (VALUES $widths) AS widths(seconds)
)
JOIN clocks USING (source)
WHERE end_ts <= until_ts
UNION
-- Windows that the clock closed, whether or not their last minute came.
SELECT closing.seconds, series.source, series.symbol, closing.ts, closing.end_ts
FROM closing JOIN series_now AS series USING (source, calendar)
