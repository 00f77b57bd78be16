-- volume_history: one row per judged bar: the baseline it is judged by, from the $sessions sessions before its own.
-- Reads `candidates` as volume_baseline does; the frame ends before the judged bar.
WITH measured AS (
    SELECT *, CASE WHEN volume > 0 THEN ln(volume) END AS log_volume FROM candidates
),
framed AS (
    SELECT source, symbol, interval, ts, median(volume) OVER before AS median, count(volume) OVER before AS sessions,
           count(log_volume) OVER before AS log_sessions,
           median(log_volume) OVER before AS log_median, list(log_volume) OVER before AS log_volumes
    FROM measured
    WINDOW before AS (PARTITION BY source, symbol, interval, bucket ORDER BY session
                      ROWS BETWEEN $sessions PRECEDING AND 1 PRECEDING)
),
deviations AS (
    SELECT *, list_transform(list_filter(log_volumes, lambda v: v IS NOT NULL), lambda v: abs(v - log_median)) AS apart
    FROM framed
)
SELECT source, symbol, interval, ts, median, sessions::INTEGER AS sessions, log_sessions::INTEGER AS log_sessions, log_median,
       list_median(apart) AS log_mad, list_avg(apart) AS log_mean_ad, sessions::INTEGER AS bars
FROM deviations
SEMI JOIN judged USING (source, symbol, interval, ts)
