-- What a pair's verdict rests on besides its p: lags used, pairs tested together, each leg alone, the bars held out.
ALTER TABLE calc.pair_stats ADD COLUMN lags INTEGER;
ALTER TABLE calc.pair_stats ADD COLUMN lags_swapped INTEGER;
ALTER TABLE calc.pair_stats ADD COLUMN tested INTEGER;
ALTER TABLE calc.pair_stats ADD COLUMN adf_p_y DOUBLE;
ALTER TABLE calc.pair_stats ADD COLUMN adf_p_x DOUBLE;
ALTER TABLE calc.pair_stats ADD COLUMN holdout_p DOUBLE;
