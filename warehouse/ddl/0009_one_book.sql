-- How far a source's windows are closed goes into the same table as the batches that are derived: each table that a
-- minute writes to costs it a file and a tenth of its commit. A row has either a batch_id, or source and until_ts.
ALTER TABLE core.derived ADD COLUMN source VARCHAR;
ALTER TABLE core.derived ADD COLUMN until_ts TIMESTAMP;
INSERT INTO core.derived SELECT NULL, run_id, seen_at, source, until_ts FROM core.progress;
DROP TABLE core.progress;
CREATE VIEW core.progress AS
SELECT source, until_ts, run_id, derived_at AS seen_at FROM core.derived WHERE until_ts IS NOT NULL;
