-- alerts: one row per id (an episode of a rule on a series or pair), folded from its events.
-- value, threshold and evidence are what it fired with; worst is the worst value that was noted since.
SELECT e.id, any_value(rule) AS rule, any_value(fingerprint) AS fingerprint,
       any_value(source) AS source, any_value(symbol) AS symbol, any_value(pair) AS pair, any_value(interval) AS interval,
       arg_max(state, recorded_at) AS state, arg_max(severity, recorded_at) AS severity,
       arg_max(value, recorded_at) AS value, arg_max(threshold, recorded_at) AS threshold,
       min(event_ts) AS started_at,
       min(event_ts) FILTER (state = 'firing') AS fired_at,
       max(event_ts) FILTER (state = 'resolved') AS resolved_at,
       (SELECT min(acked_at) FROM ops.alert_acks AS a WHERE a.id = e.id) AS acked_at,
       (arg_max(evidence, recorded_at) ->> '$.worst.value')::DOUBLE AS worst,
       left(arg_max(evidence, recorded_at) ->> '$.worst.ts', 19)::TIMESTAMP AS worst_at,
       arg_max(evidence, recorded_at) AS evidence, arg_max(rule_version, recorded_at) AS rule_version,
       min(recorded_at) AS recorded_at
FROM ops.alert_events AS e
GROUP BY e.id
