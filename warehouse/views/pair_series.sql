-- pair_series: one row per (pair, interval, ts).
SELECT * EXCLUDE (run_id) FROM calc.pair_series
