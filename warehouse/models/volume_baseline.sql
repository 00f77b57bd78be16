-- volume_baseline: one row per (source, symbol, interval, bucket): the sample in force during $session.
-- Reads `candidates` (source, symbol, interval, ts, session, bucket, volume): complete bars of earlier sessions only.
-- The last $sessions sessions that have the bucket count: a half day has no afternoon.
WITH sampled AS (
    SELECT *, CASE WHEN volume > 0 THEN ln(volume) END AS log_volume
    FROM candidates
    WHERE session < $session
    QUALIFY row_number() OVER (PARTITION BY source, symbol, interval, bucket ORDER BY session DESC) <= $sessions
),
centred AS (
    SELECT *, median(log_volume) OVER (PARTITION BY source, symbol, interval, bucket) AS centre FROM sampled
)
SELECT source, symbol, interval, bucket,
       median(volume) AS median, mad(volume) AS mad, avg(volume) AS mean, stddev_samp(volume) AS std,
       median(log_volume) AS log_median, mad(log_volume) AS log_mad, avg(abs(log_volume - centre)) AS log_mean_ad,
       count(*)::INTEGER AS sessions, count(log_volume)::INTEGER AS log_sessions,
       count(*)::INTEGER AS bars,
       min(ts) AS from_ts, max(ts) AS to_ts, $session AS session
FROM centred
GROUP BY source, symbol, interval, bucket
ORDER BY interval, bucket, source, symbol
