-- gaps: one row per (source, symbol, from_ts); to_ts is the first minute after the gap; origin is who healed it.
-- Minutes that turned out to be without a trade (state no_trade in the events) are no gap.
SELECT source, symbol, from_ts,
       arg_max(to_ts, seen_at) AS to_ts, arg_max(minutes, seen_at) AS minutes, arg_max(state, seen_at) AS state,
       min(seen_at) AS detected_at, max(seen_at) FILTER (state = 'healed') AS healed_at,
       arg_max(origin, seen_at) AS origin, arg_max(reason, seen_at) AS reason
FROM calc.gap_events
GROUP BY source, symbol, from_ts
HAVING arg_max(state, seen_at) <> 'no_trade'
