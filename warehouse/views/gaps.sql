-- gaps: one row per (source, symbol, from_ts, kind); to_ts is the first minute after the gap; origin is who healed it.
-- kind `minutes`: bars that did not come. kind `trades`: the trades first_id..last_id that did not come, between
-- those at from_ts and to_ts; `trades` is how many were missing at last, `minutes` is 0: no bar is missing for them.
-- Minutes that turned out to be without a trade (state no_trade in the events) are no gap.
SELECT source, symbol, from_ts,
       arg_max(to_ts, seen_at) AS to_ts, arg_max(minutes, seen_at) AS minutes, arg_max(state, seen_at) AS state,
       min(seen_at) AS detected_at, max(seen_at) FILTER (state = 'healed') AS healed_at,
       arg_max(origin, seen_at) AS origin, arg_max(reason, seen_at) AS reason, coalesce(kind, 'minutes') AS kind,
       min(first_id) AS first_id, max(last_id) AS last_id, arg_max(trades, seen_at) AS trades
FROM calc.gap_events
GROUP BY source, symbol, from_ts, coalesce(kind, 'minutes')
HAVING arg_max(state, seen_at) <> 'no_trade'
