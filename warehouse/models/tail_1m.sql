-- tail_1m: one row per (source, symbol, ts): one-minute bars from $since on of the series in `fronts`, oldest first.
-- Only what indicators look back on: the scan of a day's files is most of a minute's reading.
SELECT b.source, b.symbol, b.ts, b.high, b.low, b.close, b.volume, b.ts >= f.first_new AS is_new
FROM $table AS b JOIN fronts AS f USING (source, symbol)
WHERE b.ts >= $since
$trimmed
ORDER BY b.source, b.symbol, b.ts
