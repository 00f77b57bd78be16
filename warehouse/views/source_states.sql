-- source_states: one row per source: what its last fetch said, and its own clock then.
SELECT source, arg_max(state, seen_at) AS state, arg_max_null(reason, seen_at) AS reason,
       arg_max(market_now, seen_at) AS market_now, max(seen_at) AS seen_at,
       max(seen_at) FILTER (market_now IS NOT NULL) AS answered_at
FROM core.source_states GROUP BY source
