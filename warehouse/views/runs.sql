-- runs: one row per run_id.
SELECT run_id, arg_max(flow, finished_at) AS flow, max(scheduled_for) AS scheduled_for, min(started_at) AS started_at,
       max(finished_at) AS finished_at, arg_max(state, finished_at) AS state, arg_max(rows_in, finished_at) AS rows_in,
       arg_max(rows_loaded, finished_at) AS rows_loaded, arg_max(rows_quarantined, finished_at) AS rows_quarantined,
       arg_max(lag_s, finished_at) AS lag_s, arg_max(cpu_s, finished_at) AS cpu_s, arg_max(detail, finished_at) AS detail
FROM ops.runs
GROUP BY run_id
