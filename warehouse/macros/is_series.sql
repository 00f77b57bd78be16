-- is_series: whether (venue, ticker) is the series that is meant by SYMBOL or source:SYMBOL, in any case.
CREATE OR REPLACE MACRO is_series(venue, ticker, name) AS
    ticker = upper(split_part(name, ':', -1)) AND (NOT contains(name, ':') OR venue = lower(split_part(name, ':', 1)))
