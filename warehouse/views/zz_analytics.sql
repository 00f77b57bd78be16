-- analytics: one row per (source, symbol, interval, ts): the indicators most systems call analytics.
SELECT ts AS timestamp, source, symbol, interval AS timeframe, zscore_20 AS zscore, volatility_20 AS volatility,
       pv_corr_60 AS price_volume_corr, volume_ratio
FROM indicators
