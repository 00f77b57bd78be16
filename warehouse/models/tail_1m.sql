-- tail_1m: one row per (source, symbol, ts): each series in `fronts` from $lookback bars before its first new minute on.
-- A return joins two neighbouring minutes; over a hole or a night there is none.
SELECT a.source, a.symbol, '1m' AS interval, a.ts, open, high, low, close, volume, turnover, trades,
       1 AS minutes, 1 AS minutes_expected, true AS is_complete,
       CASE WHEN lag(a.ts) OVER one = a.ts - INTERVAL 1 MINUTE THEN ln(close / lag(close) OVER one) END AS ret_log,
       anchor::DATE AS session, (epoch(a.ts - anchor) // 60)::INTEGER AS bucket, a.ts >= first_new AS is_new
FROM anchored AS a JOIN fronts USING (source, symbol)
WINDOW one AS (PARTITION BY a.source, a.symbol ORDER BY a.ts)
QUALIFY is_new OR row_number() OVER (PARTITION BY a.source, a.symbol, a.ts >= first_new ORDER BY a.ts DESC) <= $lookback
ORDER BY a.source, a.symbol, a.ts
