-- stats: one row per (source, symbol) of that name: statistics of its newest `most` bars, as in `symbol_stats`.
CREATE OR REPLACE MACRO stats(name, most, width := '1m') AS TABLE
SELECT source, symbol, interval, count(*) AS n, avg(close) AS mean, stddev_samp(close) AS std, min(close) AS min,
       max(close) AS max, sum(volume) AS volume, arg_max(close, ts) / arg_min(close, ts) - 1 AS return, max(ts) AS as_of
FROM (
    SELECT * FROM ohlcv WHERE interval = width AND is_complete AND is_series(source, symbol, name)
    QUALIFY row_number() OVER (PARTITION BY source, symbol ORDER BY ts DESC) <= most
)
GROUP BY source, symbol, interval
