-- pair_stats: one row per (pair, interval, fitted_at); y is the first leg, x the second; q_bh is over the `tested` pairs of that scan.
SELECT * EXCLUDE (run_id) FROM calc.pair_stats
