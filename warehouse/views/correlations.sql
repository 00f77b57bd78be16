-- correlations: one row per (interval, lookback, symbol_a, symbol_b) of log returns, with its 95 % Fisher interval.
SELECT interval, lookback, symbol_a, symbol_b, corr, lo, hi, n, as_of
FROM calc.correlations
