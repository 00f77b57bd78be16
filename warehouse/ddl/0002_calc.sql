-- What follows from the facts: everything here can be dropped and rebuilt from schema core.
CREATE TABLE calc.sessions (
    calendar VARCHAR, session DATE, open_ts TIMESTAMP, close_ts TIMESTAMP, minutes INTEGER, is_early_close BOOLEAN
);

-- Closed windows only; the view computes the open ones.
CREATE TABLE calc.windows (
    source VARCHAR, symbol VARCHAR, interval VARCHAR, ts TIMESTAMP,
    open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, vwap DOUBLE, turnover DOUBLE, trades BIGINT,
    minutes INTEGER, minutes_expected INTEGER, is_complete BOOLEAN,
    ret_log DOUBLE, std_dprice DOUBLE, std_logret DOUBLE, run_id VARCHAR
);
ALTER TABLE calc.windows SET PARTITIONED BY (interval, year(ts), month(ts));

CREATE TABLE calc.volume_baseline (
    source VARCHAR, symbol VARCHAR, interval VARCHAR, bucket INTEGER,
    median DOUBLE, mad DOUBLE, mean DOUBLE, std DOUBLE, log_median DOUBLE, log_mad DOUBLE, log_mean_ad DOUBLE,
    sessions INTEGER, log_sessions INTEGER, from_ts TIMESTAMP, to_ts TIMESTAMP, session DATE, run_id VARCHAR
);

CREATE TABLE calc.anomalies (
    id VARCHAR, source VARCHAR, symbol VARCHAR, interval VARCHAR, ts TIMESTAMP, kind VARCHAR,
    value DOUBLE, baseline DOUBLE, ratio DOUBLE, zscore DOUBLE, severity VARCHAR, reason VARCHAR,
    run_id VARCHAR, known_at TIMESTAMP
);

CREATE TABLE calc.symbol_stats (
    source VARCHAR, symbol VARCHAR, interval VARCHAR, lookback INTEGER,
    mean DOUBLE, std DOUBLE, min DOUBLE, max DOUBLE, volume DOUBLE, return DOUBLE,
    adf_stat DOUBLE, adf_p DOUBLE, is_mean_reverting BOOLEAN, n INTEGER, as_of TIMESTAMP, reason VARCHAR, run_id VARCHAR
);

CREATE TABLE calc.pair_stats (
    pair VARCHAR, interval VARCHAR, fitted_at TIMESTAMP,
    source_y VARCHAR, symbol_y VARCHAR, source_x VARCHAR, symbol_x VARCHAR, n INTEGER,
    beta_ols DOUBLE, alpha_ols DOUBLE, beta_theil_sen DOUBLE, beta_lo DOUBLE, beta_hi DOUBLE, beta_kalman DOUBLE, r2 DOUBLE,
    eg_stat DOUBLE, eg_p DOUBLE, eg_stat_swapped DOUBLE, eg_p_swapped DOUBLE, p_max DOUBLE, q_bh DOUBLE,
    is_cointegrated BOOLEAN, johansen_trace_0 DOUBLE, johansen_trace_1 DOUBLE,
    half_life_bars DOUBLE, half_life_lo DOUBLE, half_life_hi DOUBLE, break_flag BOOLEAN,
    corr DOUBLE, zscore DOUBLE, state VARCHAR, reason VARCHAR, run_id VARCHAR
);
CREATE TABLE calc.pair_series (
    pair VARCHAR, interval VARCHAR, ts TIMESTAMP, spread DOUBLE, zscore DOUBLE, corr_roll DOUBLE, beta DOUBLE, run_id VARCHAR
);
CREATE TABLE calc.correlations (
    interval VARCHAR, lookback INTEGER, symbol_a VARCHAR, symbol_b VARCHAR,
    corr DOUBLE, lo DOUBLE, hi DOUBLE, n INTEGER, as_of TIMESTAMP, run_id VARCHAR
);
CREATE TABLE calc.predictions (
    source VARCHAR, symbol VARCHAR, model VARCHAR, made_at TIMESTAMP, horizon INTEGER,
    predicted DOUBLE, actual DOUBLE, skill DOUBLE, run_id VARCHAR
);

CREATE TABLE calc.coverage (
    source VARCHAR, symbol VARCHAR, day DATE, expected INTEGER, ok INTEGER, no_trade INTEGER,
    missing INTEGER, healed INTEGER, lost INTEGER, late INTEGER, run_id VARCHAR
);
-- Events; the view folds them to one row a gap.
CREATE TABLE calc.gap_events (
    source VARCHAR, symbol VARCHAR, from_ts TIMESTAMP, to_ts TIMESTAMP, minutes INTEGER,
    state VARCHAR, origin VARCHAR, reason VARCHAR, seen_at TIMESTAMP, run_id VARCHAR
);
