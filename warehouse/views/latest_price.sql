-- latest_price: one row per (source, symbol): the close of the newest bar.
SELECT source, symbol, max(ts) AS ts, arg_max(close, ts) AS price, arg_max(volume, ts) AS volume,
       arg_max(known_at, ts) AS known_at
FROM core.bars GROUP BY source, symbol
