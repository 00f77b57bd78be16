-- windows: one row per (source, symbol, ts): closed windows of $seconds that are listed in `todo`.
-- Reads `anchored`, the bars of those windows and of the ones before them; prices in quote currency.
-- Session-bound windows are anchored at the open and cut at the close, 24/7 ones at midnight UTC.
WITH bucketed AS (
    SELECT *, anchor + to_seconds((epoch(ts - anchor)::BIGINT // $seconds) * $seconds) AS bucket
    FROM anchored
),
changes AS (
    SELECT *, least(bucket + to_seconds($seconds), closes) AS end_ts,
           close - lag(close) OVER inside AS dprice, ln(close / lag(close) OVER inside) AS dlog
    FROM bucketed
    WINDOW inside AS (PARTITION BY source, symbol, bucket ORDER BY ts)
),
grouped AS (
    SELECT source, symbol, bucket AS ts, end_ts,
           arg_min(open, ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, ts) AS close,
           sum(volume) AS volume,
           -- A bar whose venue gives no turnover has no say in the average price.
           sum(turnover) / nullif(sum(volume) FILTER (turnover IS NOT NULL), 0) AS vwap,
           CASE WHEN count(turnover) = count(*) THEN sum(turnover) END AS turnover,
           sum(trades)::BIGINT AS trades, count(*)::INTEGER AS minutes,
           (epoch(end_ts - bucket) // 60)::INTEGER AS minutes_expected,
           -- A minute absent from an imported file had no trade: it is not missing.
           bool_and(origin = 'import') AS is_imported,
           stddev_samp(dprice) AS std_dprice, stddev_samp(dlog) AS std_logret
    FROM changes
    GROUP BY source, symbol, bucket, end_ts
),
followed AS (
    SELECT *, lag(close) OVER one AS close_before, lag(end_ts) OVER one AS end_before
    FROM grouped
    WINDOW one AS (PARTITION BY source, symbol ORDER BY ts)
)
SELECT source, symbol, $interval AS interval, ts, open, high, low, close, volume, vwap, turnover, trades,
       minutes, minutes_expected, minutes = minutes_expected OR is_imported AS is_complete,
       -- Days join over a weekend and a holiday, not over a halt: as far as `following` looks.
       CASE WHEN end_before = ts OR ($seconds >= 86400 AND ts - end_before <= INTERVAL 5 DAY)
            THEN ln(close / close_before) END AS ret_log,
       std_dprice, std_logret
FROM followed
SEMI JOIN todo USING (source, symbol, ts)
