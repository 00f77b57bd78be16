-- ohlcv: one row per (source, symbol, interval, ts). Closed windows are stored, open ones computed here.
-- lent: it holds a minute that another venue brought while the source was down; its volume is not judged.
WITH stored AS (
    SELECT source, symbol, interval, ts, open, high, low, close, volume, vwap, turnover, trades,
           minutes, minutes_expected, is_complete, ret_log, std_dprice, std_logret, lent IS TRUE AS lent
    FROM calc.windows
),
recent AS (
    SELECT b.source, b.symbol, b.ts, b.open, b.high, b.low, b.close, b.volume, b.turnover, b.trades, b.origin,
           CASE WHEN b.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', b.ts) END AS anchor,
           CASE WHEN b.ts < s.close_ts THEN s.close_ts ELSE date_trunc('day', b.ts) + INTERVAL 1 DAY END AS closes
    FROM (
        SELECT bars.*, series.calendar
        FROM core.bars AS bars
        JOIN core.series AS series USING (source, symbol)
        JOIN (SELECT source, max(until_ts) AS until_ts FROM core.progress GROUP BY source) AS p USING (source)
        WHERE bars.ts >= p.until_ts - INTERVAL 1 DAY
    ) AS b
    ASOF LEFT JOIN calc.sessions AS s ON b.calendar = s.calendar AND b.ts >= s.open_ts
),
bucketed AS (
    SELECT recent.*, i.interval, i.seconds,
           anchor + to_seconds((epoch(ts - anchor)::BIGINT // i.seconds) * i.seconds) AS bucket
    FROM recent CROSS JOIN (SELECT * FROM core.intervals WHERE seconds > 60) AS i
),
opened AS (
    SELECT source, symbol, interval, bucket AS ts,
           arg_min(open, ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, ts) AS close,
           sum(volume) AS volume, sum(turnover) / nullif(sum(volume) FILTER (turnover IS NOT NULL), 0) AS vwap,
           CASE WHEN count(turnover) = count(*) THEN sum(turnover) END AS turnover,
           sum(trades)::BIGINT AS trades, count(*)::INTEGER AS minutes,
           (epoch(least(bucket + to_seconds(any_value(seconds)), any_value(closes)) - bucket) // 60)::INTEGER
               AS minutes_expected,
           false AS is_complete, NULL::DOUBLE AS ret_log, NULL::DOUBLE AS std_dprice, NULL::DOUBLE AS std_logret,
           bool_or(origin = 'fallback') AS lent
    FROM bucketed
    GROUP BY source, symbol, interval, bucket
)
SELECT * FROM stored
UNION ALL
SELECT opened.* FROM opened ANTI JOIN calc.windows AS closed USING (source, symbol, interval, ts)
UNION ALL
SELECT source, symbol, interval, ts, open, high, low, close, volume, vwap, turnover, trades,
       1, 1, true, NULL, NULL, NULL, false
FROM core.interval_bars
UNION ALL
-- A return joins two neighbouring minutes; over a hole or a night there is none.
SELECT source, symbol, '1m', ts, open, high, low, close, volume, vwap, turnover, trades, 1, 1, true,
       CASE WHEN lag(ts) OVER one = ts - INTERVAL 1 MINUTE THEN ln(close / lag(close) OVER one) END,
       NULL, NULL, origin = 'fallback'
FROM core.bars
WINDOW one AS (PARTITION BY source, symbol ORDER BY ts)
UNION ALL
SELECT t.* FROM (
    SELECT source, symbol, '1m' AS interval, minute AS ts,
           arg_min(price, (ts, trade_id)) AS open, max(price) AS high, min(price) AS low, arg_max(price, (ts, trade_id)) AS close,
           sum(qty) AS volume, sum(price * qty) / sum(qty) AS vwap, sum(price * qty) AS turnover, sum(fills)::BIGINT AS trades,
           1 AS minutes, 1 AS minutes_expected, true AS is_complete, NULL::DOUBLE, NULL::DOUBLE, NULL::DOUBLE, false
    FROM core.trades GROUP BY ALL
) AS t ANTI JOIN core.bars AS b USING (source, symbol, ts)
UNION ALL
SELECT source, symbol, '1s', second,
       arg_min(price, (ts, trade_id)), max(price), min(price), arg_max(price, (ts, trade_id)),
       sum(qty), sum(price * qty) / sum(qty), sum(price * qty), sum(fills)::BIGINT,
       1, 1, true, NULL, NULL, NULL, false
FROM core.trades GROUP BY source, symbol, second
