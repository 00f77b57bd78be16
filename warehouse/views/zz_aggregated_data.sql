-- aggregated_data: one row per window, as `ohlcv`, in the columns of the systems users come from.
SELECT ts AS window_start, source, symbol, interval AS window_name, open, high, low, close, volume, vwap, trades AS trade_count
FROM ohlcv
