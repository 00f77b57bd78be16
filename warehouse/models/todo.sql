-- todo: one row per (source, symbol, ts): windows of $seconds that a touched bar lies in and that are closed.
-- Reads `touched` (anchored bars) and `clocks` (source, until_ts).
SELECT DISTINCT source, symbol, ts, end_ts
FROM (
    SELECT source, symbol,
           anchor + to_seconds((epoch(ts - anchor)::BIGINT // $seconds) * $seconds) AS ts,
           least(anchor + to_seconds((epoch(ts - anchor)::BIGINT // $seconds + 1) * $seconds), closes) AS end_ts
    FROM touched
)
JOIN clocks USING (source)
WHERE end_ts <= until_ts
UNION
-- Windows that the clock closed, whether or not their last minute came.
SELECT series.source, series.symbol, closing.ts, closing.end_ts
FROM closing JOIN core.series AS series USING (source, calendar)
WHERE closing.seconds = $seconds
