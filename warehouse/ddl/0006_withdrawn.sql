-- Anomalies that a later judgement of the same bar took back: a bar was revised, or bars before it came.
CREATE TABLE calc.anomalies_withdrawn (
    id VARCHAR, source VARCHAR, symbol VARCHAR, interval VARCHAR, ts TIMESTAMP, kind VARCHAR,
    value DOUBLE, baseline DOUBLE, ratio DOUBLE, zscore DOUBLE, severity VARCHAR, reason VARCHAR,
    run_id VARCHAR, known_at TIMESTAMP, withdrawn_at TIMESTAMP, withdrawn_by VARCHAR
);
