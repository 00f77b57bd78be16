-- tick_data: one row per trade, in the columns of the systems users come from.
SELECT ts AS timestamp, symbol, price, qty AS quantity, trade_id, source, known_at AS ingested_at FROM core.trades
