-- trades: one row per (source, symbol, trade_id); Binance rows are aggTrades, `fills` says of how many fills.
SELECT source, symbol, trade_id, ts, price, qty, side, fills, origin, known_at, run_id
FROM core.trades
