-- spread: the newest `most` points of a pair, newest first, as in `pair_series`: FROM spread('ETHUSDT', 'BTCUSDT', 100).
CREATE OR REPLACE MACRO spread(y, x, most, width := '1m') AS TABLE
SELECT s.* FROM pair_series AS s
SEMI JOIN (
    SELECT pair FROM pair_stats WHERE is_series(source_y, symbol_y, y) AND is_series(source_x, symbol_x, x)
) AS p USING (pair)
WHERE s.interval = width
ORDER BY s.ts DESC LIMIT most
