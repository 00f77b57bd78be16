-- series: one row per (source, symbol) the warehouse has met, with its trading calendar.
SELECT source, symbol, calendar, origin, first_seen FROM core.series
