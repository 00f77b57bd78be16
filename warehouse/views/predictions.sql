-- predictions: one row per (source, symbol, model, made_at, horizon in bars).
SELECT source, symbol, model, made_at, horizon, predicted, actual, skill FROM calc.predictions
