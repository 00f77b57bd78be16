-- technical_indicators: one row per (source, symbol, interval, ts), as `indicators`.
SELECT * RENAME (ts AS timestamp) FROM indicators
