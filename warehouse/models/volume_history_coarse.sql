-- volume_history_coarse: one row per row of `thin`: the sample of its whole slot ($slot minutes of the session), from the
-- $sessions sessions before its own that have any bar of the slot. None where there are fewer than $min_sessions.
WITH slotted AS (
    SELECT *, bucket // $slot AS slot, CASE WHEN volume > 0 THEN ln(volume) END AS log_volume,
           dense_rank() OVER (PARTITION BY source, symbol, interval, bucket // $slot ORDER BY session) AS nth
    FROM candidates SEMI JOIN thin USING (source, symbol, interval)
),
judged AS (
    SELECT source, symbol, interval, ts, slot, nth FROM slotted SEMI JOIN thin USING (source, symbol, interval, ts)
    WHERE nth > $min_sessions
),
pooled AS (
    SELECT j.*, s.session, s.volume, s.log_volume,
           median(s.log_volume) OVER (PARTITION BY j.source, j.symbol, j.interval, j.ts) AS centre
    FROM judged AS j JOIN slotted AS s USING (source, symbol, interval, slot)
    WHERE s.nth < j.nth AND s.nth >= j.nth - $sessions
)
SELECT source, symbol, interval, ts, median(volume) AS median, count(DISTINCT session)::INTEGER AS sessions,
       count(log_volume)::INTEGER AS log_sessions, median(log_volume) AS log_median, mad(log_volume) AS log_mad,
       avg(abs(log_volume - centre)) AS log_mean_ad, count(*)::INTEGER AS bars
FROM pooled
GROUP BY source, symbol, interval, ts
