-- pair_stats: one row per (pair, interval, fitted_at); y is the first leg, x the second.
SELECT * EXCLUDE (run_id) FROM calc.pair_stats
