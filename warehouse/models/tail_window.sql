-- tail_window: as tail_1m, for the stored windows of $interval with the new ones of `new_windows` in their place.
SELECT b.source, b.symbol, b.ts, b.high, b.low, b.close, b.volume, b.ret_log, b.ts >= f.first_new AS is_new
FROM (
    SELECT source, symbol, ts, high, low, close, volume, ret_log
    FROM $table WHERE interval = $interval AND ts >= $since AND ts < $front
    UNION ALL
    SELECT source, symbol, ts, high, low, close, volume, ret_log
    FROM $table ANTI JOIN new_windows USING (source, symbol, ts) WHERE interval = $interval AND ts >= $front
    UNION ALL
    SELECT source, symbol, ts, high, low, close, volume, ret_log FROM new_windows
) AS b JOIN fronts AS f USING (source, symbol)
$trimmed
ORDER BY b.source, b.symbol, b.ts
