-- anchored_bars: one row per one-minute bar of $table in [$since, $until) for which $only holds, with the session it belongs to.
-- anchor is the session's open (UTC midnight for 24/7 and for bars outside any session), closes its end; counted_from is
-- what the bar's bucket is counted from.
SELECT b.source, b.symbol, b.ts, b.open, b.high, b.low, b.close, b.volume, b.turnover, b.trades, b.origin, b.batch_id,
       b.calendar,
       CASE WHEN b.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', b.ts) END AS anchor,
       CASE WHEN b.ts < s.close_ts THEN s.close_ts ELSE date_trunc('day', b.ts) + INTERVAL 1 DAY END AS closes,
       $counted_from AS counted_from
FROM (
    SELECT bars.*, series.calendar
    FROM $table AS bars JOIN series_now AS series USING (source, symbol)
    WHERE bars.ts >= $since AND bars.ts < $until AND $only
) AS b
ASOF LEFT JOIN sessions_now AS s ON b.calendar = s.calendar AND b.ts >= s.open_ts
