-- corr_matrix: correlations of log returns over the newest `most` times at which any of the series has one.
CREATE OR REPLACE MACRO corr_matrix(names, most, width := '1m') AS TABLE
WITH returns AS (
    SELECT source || ':' || symbol AS series, ts, ret_log FROM ohlcv
    WHERE interval = width AND ret_log IS NOT NULL
      AND (upper(symbol) IN (SELECT upper(unnest(names))) OR upper(source || ':' || symbol) IN (SELECT upper(unnest(names))))
    QUALIFY dense_rank() OVER (ORDER BY ts DESC) <= most
)
SELECT a.series AS symbol_a, b.series AS symbol_b,
       CASE WHEN a.series = b.series THEN 1.0 ELSE corr(a.ret_log, b.ret_log) END AS corr, count(*) AS n, max(ts) AS as_of
FROM returns AS a JOIN returns AS b USING (ts)
GROUP BY a.series, b.series ORDER BY symbol_a, symbol_b
