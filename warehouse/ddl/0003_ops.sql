-- What the platform did and said. Things whose state changes are appended as events; views fold them.
CREATE TABLE ops.runs (
    run_id VARCHAR, flow VARCHAR, scheduled_for TIMESTAMP, started_at TIMESTAMP, finished_at TIMESTAMP, state VARCHAR,
    rows_in BIGINT, rows_loaded BIGINT, rows_quarantined BIGINT, lag_s DOUBLE, cpu_s DOUBLE, detail VARCHAR
);
CREATE TABLE ops.latency (
    run_id VARCHAR, stage VARCHAR, p50_ms DOUBLE, p99_ms DOUBLE, max_ms DOUBLE, n BIGINT, seen_at TIMESTAMP
);
CREATE TABLE ops.quality (
    suite VARCHAR, check_name VARCHAR, table_name VARCHAR, severity VARCHAR, passed BOOLEAN,
    observed VARCHAR, threshold VARCHAR, failing_rows BIGINT, run_id VARCHAR, checked_at TIMESTAMP
);
CREATE TABLE ops.alert_events (
    id VARCHAR, rule VARCHAR, rule_version VARCHAR, fingerprint VARCHAR,
    source VARCHAR, symbol VARCHAR, pair VARCHAR, interval VARCHAR, state VARCHAR, severity VARCHAR,
    value DOUBLE, threshold DOUBLE, evidence VARCHAR, event_ts TIMESTAMP, recorded_at TIMESTAMP, run_id VARCHAR
);
CREATE TABLE ops.alert_acks (id VARCHAR, acked_at TIMESTAMP, author VARCHAR, note VARCHAR);
CREATE TABLE ops.rules (
    name VARCHAR, action VARCHAR, definition VARCHAR, expires_at TIMESTAMP, recorded_at TIMESTAMP
);
CREATE TABLE ops.outbox (
    id VARCHAR, channel VARCHAR, group_key VARCHAR, state VARCHAR, attempts INTEGER,
    next_try TIMESTAMP, last_error VARCHAR, facts VARCHAR, recorded_at TIMESTAMP, run_id VARCHAR
);
CREATE TABLE ops.digests (
    id VARCHAR, since_ts TIMESTAMP, until_ts TIMESTAMP, items INTEGER, recorded_at TIMESTAMP, run_id VARCHAR
);
