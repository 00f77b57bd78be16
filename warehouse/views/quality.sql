-- quality: one row per (check_name, run).
SELECT suite, check_name, table_name, severity, passed, observed, threshold, failing_rows, run_id, checked_at
FROM ops.quality
