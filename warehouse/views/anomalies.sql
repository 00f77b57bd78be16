-- anomalies: one row per id; ts is the open of the judged bar.
SELECT id, source, symbol, interval, ts, kind, value, baseline, ratio, zscore, severity, reason, run_id, known_at
FROM calc.anomalies
