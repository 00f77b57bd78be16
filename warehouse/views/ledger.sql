-- ledger: one row per batch that was loaded; the batch's payloads lie in the landing zone at path.
SELECT * FROM core.ledger
