-- What was loaded: facts as the venues gave them, and the ledger that says which batch brought them.
CREATE SCHEMA core;
CREATE SCHEMA calc;
CREATE SCHEMA ops;

CREATE TABLE core.series (source VARCHAR, symbol VARCHAR, calendar VARCHAR, origin VARCHAR, first_seen TIMESTAMP);
CREATE TABLE core.intervals (interval VARCHAR, seconds BIGINT);

CREATE TABLE core.bars (
    source VARCHAR, symbol VARCHAR, ts TIMESTAMP,
    open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, vwap DOUBLE, turnover DOUBLE, trades BIGINT,
    venue VARCHAR, revision INTEGER, known_at TIMESTAMP, run_id VARCHAR, origin VARCHAR, batch_id VARCHAR
);
ALTER TABLE core.bars SET PARTITIONED BY (year(ts), month(ts), day(ts));

CREATE TABLE core.bar_revisions (
    source VARCHAR, symbol VARCHAR, ts TIMESTAMP,
    open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, vwap DOUBLE, turnover DOUBLE, trades BIGINT,
    venue VARCHAR, revision INTEGER, known_at TIMESTAMP, run_id VARCHAR, origin VARCHAR, batch_id VARCHAR,
    replaced_at TIMESTAMP
);

CREATE TABLE core.interval_bars (
    source VARCHAR, symbol VARCHAR, interval VARCHAR, ts TIMESTAMP,
    open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, vwap DOUBLE, turnover DOUBLE, trades BIGINT,
    venue VARCHAR, known_at TIMESTAMP, run_id VARCHAR, origin VARCHAR, batch_id VARCHAR
);

CREATE TABLE core.trades (
    source VARCHAR, symbol VARCHAR, trade_id BIGINT, ts TIMESTAMP,
    price DOUBLE, qty DOUBLE, side VARCHAR, fills BIGINT,
    origin VARCHAR, known_at TIMESTAMP, run_id VARCHAR, batch_id VARCHAR
);
ALTER TABLE core.trades SET PARTITIONED BY (year(ts), month(ts), day(ts));

CREATE TABLE core.quarantine (
    id VARCHAR, source VARCHAR, symbol VARCHAR, ts TIMESTAMP, reason VARCHAR, detail VARCHAR, payload VARCHAR,
    file VARCHAR, line BIGINT, run_id VARCHAR, batch_id VARCHAR, seen_at TIMESTAMP
);
CREATE TABLE core.releases (id VARCHAR, released_at TIMESTAMP, run_id VARCHAR);

CREATE TABLE core.ledger (
    batch_id VARCHAR, source VARCHAR, kind VARCHAR, from_ts TIMESTAMP, to_ts TIMESTAMP,
    rows_in BIGINT, rows_loaded BIGINT, rows_revised BIGINT, rows_quarantined BIGINT,
    sha256 VARCHAR, path VARCHAR, run_id VARCHAR, loaded_at TIMESTAMP
);
-- A ledger batch without a row here still waits for its windows, indicators and anomalies.
CREATE TABLE core.derived (batch_id VARCHAR, run_id VARCHAR, derived_at TIMESTAMP);
-- Market time of a source up to which its windows are closed.
CREATE TABLE core.progress (source VARCHAR, until_ts TIMESTAMP, run_id VARCHAR, seen_at TIMESTAMP);
CREATE TABLE core.source_states (
    source VARCHAR, state VARCHAR, reason VARCHAR, market_now TIMESTAMP, seen_at TIMESTAMP, run_id VARCHAR
);
