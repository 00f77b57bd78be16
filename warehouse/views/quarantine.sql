-- quarantine: one row per id: what could not be loaded, word for word, with its reason.
SELECT q.id, q.source, q.symbol, q.ts, q.reason, q.detail, q.payload, q.file, q.line, q.run_id, q.seen_at, r.released_at
FROM core.quarantine AS q LEFT JOIN (SELECT id, max(released_at) AS released_at FROM core.releases GROUP BY id) AS r USING (id)
