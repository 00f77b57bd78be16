-- ticks_last: the newest `most` trades of a series, newest first: FROM ticks_last('binance:BTCUSDT', 100).
CREATE OR REPLACE MACRO ticks_last(name, most) AS TABLE
SELECT source, symbol, trade_id, ts, price, qty, side
FROM trades WHERE is_series(source, symbol, name)
ORDER BY ts DESC, trade_id DESC LIMIT most
