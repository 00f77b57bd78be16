-- Whose minutes somebody has asked for beside those that a live feed follows: a row a series and span, kind backfill or
-- import. Only these are expected there: what lies between two spans is no hole. answered: all of it was answered.
CREATE TABLE core.asked (
    source VARCHAR, symbol VARCHAR, from_ts TIMESTAMP, to_ts TIMESTAMP, kind VARCHAR, answered BOOLEAN,
    run_id VARCHAR, asked_at TIMESTAMP
);
-- What was asked for before: a chunk of history was known by an id that says its span, a file is known by its bars.
INSERT INTO core.asked
SELECT source, part.symbol, strptime(part.since, '%Y%m%dT%H%M'), strptime(part.until, '%Y%m%dT%H%M'), kind, true, run_id, loaded_at
FROM (
    SELECT *, regexp_extract(batch_id, '-backfill-(\d{8}T\d{4})-(.+)-(\d{8}T\d{4})$', ['since', 'symbol', 'until']) AS part
    FROM core.ledger WHERE kind = 'backfill' AND regexp_matches(batch_id, '-backfill-\d{8}T\d{4}-.+-\d{8}T\d{4}$')
);
INSERT INTO core.asked
SELECT source, symbol, min(ts), max(ts) + INTERVAL 1 MINUTE, 'import', true, any_value(run_id), min(known_at)
FROM core.bars WHERE origin = 'import' GROUP BY source, symbol, batch_id;
