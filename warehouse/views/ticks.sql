-- ticks: one row per trade, in the columns of the systems users come from.
SELECT ts, symbol, price, qty, trade_id, source, known_at AS ingested_at FROM core.trades
