-- bar_revisions: one row per (source, symbol, ts, revision): every version of a bar, the newest has no replaced_at.
SELECT source, symbol, ts, open, high, low, close, volume, vwap, turnover, trades,
       venue, revision, known_at, run_id, origin, replaced_at
FROM core.bar_revisions
UNION ALL
SELECT source, symbol, ts, open, high, low, close, volume, vwap, turnover, trades,
       venue, revision, known_at, run_id, origin, NULL
FROM core.bars
