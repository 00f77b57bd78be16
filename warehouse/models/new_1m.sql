-- new_1m: one row per (source, symbol, ts): the one-minute bars from each series' front in `fronts` on, $front the earliest.
SELECT a.source, a.symbol, '1m' AS interval, a.ts, open, high, low, close, volume, turnover, trades,
       1 AS minutes, 1 AS minutes_expected, true AS is_complete, origin = 'fallback' AS lent,
       anchor::DATE AS session, (epoch(a.ts - counted_from) // 60)::INTEGER AS bucket
FROM ($bars) AS a JOIN fronts USING (source, symbol)
WHERE a.ts >= first_new
ORDER BY a.source, a.symbol, a.ts
