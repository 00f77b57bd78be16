-- source_states: one row per source: what its last fetch said, and its own clock then.
SELECT source, arg_max(state, seen_at) AS state, arg_max(reason, seen_at) AS reason,
       arg_max(market_now, seen_at) AS market_now, max(seen_at) AS seen_at
FROM core.source_states GROUP BY source
