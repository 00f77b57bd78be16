-- aggregated_latest: one row per (source, symbol, window_name): the newest closed window, in the columns of `aggregated_data`.
SELECT ts AS window_start, source, symbol, interval AS window_name, open, high, low, close, volume, vwap, trades AS trade_count
FROM calc.windows
SEMI JOIN (SELECT source, symbol, interval, max(ts) AS ts FROM calc.windows GROUP BY ALL) AS newest
USING (source, symbol, interval, ts)
UNION ALL
SELECT max(ts), source, symbol, '1m', arg_max(open, ts), arg_max(high, ts), arg_max(low, ts), arg_max(close, ts),
       arg_max(volume, ts), arg_max_null(vwap, ts), arg_max_null(trades, ts)
FROM core.bars GROUP BY source, symbol
