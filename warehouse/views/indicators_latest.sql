-- indicators_latest: one row per (source, symbol, interval): the newest row of `indicators`.
SELECT i.* FROM indicators AS i
SEMI JOIN (SELECT source, symbol, interval, max(ts) AS ts FROM indicators GROUP BY ALL) AS newest
USING (source, symbol, interval, ts)
