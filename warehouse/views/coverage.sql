-- coverage: one row per (source, symbol, day); the states sum to expected.
SELECT source, symbol, day, expected, ok, no_trade, missing, healed, lost, late FROM calc.coverage
