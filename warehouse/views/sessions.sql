-- sessions: one row per (calendar, session); times UTC.
SELECT calendar, session, open_ts, close_ts, minutes, is_early_close FROM calc.sessions
