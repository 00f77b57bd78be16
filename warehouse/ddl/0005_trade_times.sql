-- The second and the minute of each trade as columns of their own: a bound on a window's ts then finds its files.
ALTER TABLE core.trades ADD COLUMN second TIMESTAMP;
ALTER TABLE core.trades ADD COLUMN minute TIMESTAMP;
UPDATE core.trades SET second = date_trunc('second', ts), minute = date_trunc('minute', ts);
