-- symbol_stats: one row per (source, symbol, interval, lookback), the newest.
SELECT source, symbol, interval, lookback, mean, std, min, max, volume, return, adf_stat, adf_p, is_mean_reverting, n,
       as_of, reason
FROM calc.symbol_stats
QUALIFY row_number() OVER (PARTITION BY source, symbol, interval, lookback ORDER BY as_of DESC) = 1
