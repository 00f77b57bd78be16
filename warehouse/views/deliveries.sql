-- deliveries: one row per id: a message to one channel, folded from the outbox's events.
SELECT id, any_value(channel) AS channel, any_value(group_key) AS group_key,
       arg_max(state, (recorded_at, attempts)) AS state, max(attempts) AS attempts,
       arg_max(next_try, (recorded_at, attempts)) AS next_try,
       arg_max_null(last_error, (recorded_at, attempts)) AS last_error,
       min(recorded_at) AS created_at, min(recorded_at) FILTER (state = 'sent') AS sent_at
FROM ops.outbox
GROUP BY id
