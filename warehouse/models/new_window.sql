-- new_window: as new_1m, for the stored windows of $interval and the new ones of `new_windows`.
WITH both_kinds AS (
    SELECT source, symbol, interval, ts, open, high, low, close, volume, turnover, trades, minutes, minutes_expected,
           is_complete, lent
    FROM $table ANTI JOIN new_windows USING (source, symbol, ts)
    WHERE interval = $interval AND ts >= $front
    UNION ALL
    SELECT source, symbol, interval, ts, open, high, low, close, volume, turnover, trades, minutes, minutes_expected,
           is_complete, lent
    FROM new_windows
),
placed AS (
    SELECT v.* EXCLUDE (calendar), CASE WHEN v.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', v.ts) END AS anchor,
           $counted_from AS counted_from
    FROM (SELECT b.*, series.calendar FROM both_kinds AS b JOIN series_now AS series USING (source, symbol)) AS v
    ASOF LEFT JOIN sessions_now AS s ON v.calendar = s.calendar AND v.ts >= s.open_ts
)
SELECT p.source, p.symbol, interval, p.ts, open, high, low, close, volume, turnover, trades,
       minutes, minutes_expected, is_complete, lent IS TRUE AS lent,
       anchor::DATE AS session, (epoch(p.ts - counted_from) // 60)::INTEGER AS bucket
FROM placed AS p JOIN fronts USING (source, symbol)
WHERE p.ts >= first_new
ORDER BY p.source, p.symbol, p.ts
