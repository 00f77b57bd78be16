-- anomalies_withdrawn: one row per (id, withdrawn_at): an anomaly as it was, and the run that judged its bar anew and took it back.
SELECT id, source, symbol, interval, ts, kind, value, baseline, ratio, zscore, severity, reason, run_id, known_at,
       withdrawn_at, withdrawn_by
FROM calc.anomalies_withdrawn
