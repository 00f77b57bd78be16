-- volume_coarse: one row per (source, symbol, interval, slot) of `thin`: the sample of the whole slot ($slot minutes of the
-- session) in force during $session, for buckets that have too few sessions of their own.
-- Reads `candidates` as volume_baseline does; the last $sessions sessions that have any bar of the slot count.
WITH sampled AS (
    SELECT *, bucket // $slot AS slot, CASE WHEN volume > 0 THEN ln(volume) END AS log_volume
    FROM candidates
    WHERE session < $session AND (source, symbol, interval, bucket // $slot) IN (SELECT (source, symbol, interval, slot) FROM thin)
    QUALIFY dense_rank() OVER (PARTITION BY source, symbol, interval, bucket // $slot ORDER BY session DESC) <= $sessions
),
centred AS (
    SELECT *, median(log_volume) OVER (PARTITION BY source, symbol, interval, slot) AS centre FROM sampled
)
SELECT source, symbol, interval, slot,
       median(volume) AS median, mad(volume) AS mad, avg(volume) AS mean, stddev_samp(volume) AS std,
       median(log_volume) AS log_median, mad(log_volume) AS log_mad, avg(abs(log_volume - centre)) AS log_mean_ad,
       count(DISTINCT session)::INTEGER AS sessions, count(log_volume)::INTEGER AS log_sessions, count(*)::INTEGER AS bars,
       min(ts) AS from_ts, max(ts) AS to_ts, $session AS session
FROM centred
GROUP BY source, symbol, interval, slot
