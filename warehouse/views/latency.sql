-- latency: one row per (run_id, stage).
SELECT run_id, stage, p50_ms, p99_ms, max_ms, n, seen_at FROM ops.latency
