-- following: one row per (source, symbol, ts): stored windows right after one in `todo`; their return starts at its close.
-- Sessions lie up to $reach_days apart, so a day's follower is the next stored one; shorter windows touch.
SELECT w.source, w.symbol, w.ts, max(w.ts + to_seconds($seconds)) AS end_ts
FROM $table AS w
JOIN todo ON w.source = todo.source AND w.symbol = todo.symbol
 AND w.ts >= todo.end_ts AND w.ts < todo.end_ts + to_days($reach_days::INTEGER) + to_seconds(1)
WHERE w.interval = $interval AND w.ts >= $since AND w.ts <= $until
GROUP BY w.source, w.symbol, w.ts
