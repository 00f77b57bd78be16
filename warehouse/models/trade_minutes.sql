-- trade_minutes: one row per (source, symbol, ts): the minutes in [$since, $until) made of $source's trades.
-- A minute that has the venue's own bar is left out.
SELECT t.* FROM (
    SELECT source, symbol, date_trunc('minute', ts) AS ts,
           arg_min(price, (ts, trade_id)) AS open, max(price) AS high, min(price) AS low,
           arg_max(price, (ts, trade_id)) AS close, fsum(qty) AS volume, fsum(price * qty) AS turnover,
           sum(fills)::BIGINT AS trades, source AS venue, true AS is_closed
    FROM core.trades AS trades
    WHERE source = $source AND trades.ts >= $since AND trades.ts < $until
    GROUP BY source, symbol, date_trunc('minute', ts)
) AS t
ANTI JOIN (
    SELECT source, symbol, ts FROM core.bars AS bars
    WHERE source = $source AND bars.ts >= $since AND bars.ts < $until AND NOT ends_with(batch_id, $own)
      AND origin <> 'fallback'
) AS b USING (source, symbol, ts)
ORDER BY t.source, t.symbol, t.ts
