-- ohlc: the bars of `ohlcv` in the columns of the systems users come from.
SELECT ts AS timestamp, symbol, interval AS timeframe, open, high, low, close, volume, source FROM ohlcv
