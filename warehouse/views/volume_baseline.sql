-- volume_baseline: one row per (source, symbol, interval, bucket): the sample in force for the newest session.
-- bucket is the minute since the session's open; the judged session is never in its own sample.
SELECT source, symbol, interval, bucket, median, mad, mean, std, sessions, from_ts, to_ts
FROM calc.volume_baseline
QUALIFY row_number() OVER (PARTITION BY source, symbol, interval, bucket ORDER BY session DESC) = 1
