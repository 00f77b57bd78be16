-- bars: one row per (source, symbol, ts): one-minute bars, newest revision; ts is the UTC open time.
SELECT source, symbol, ts, open, high, low, close, volume, vwap, turnover, trades,
       venue, revision, known_at, run_id, origin
FROM core.bars
