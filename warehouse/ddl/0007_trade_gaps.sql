-- Holes in the ids of trades stand beside missing minutes: kind `trades`, and which ids; null is `minutes`.
ALTER TABLE calc.gap_events ADD COLUMN kind VARCHAR;
ALTER TABLE calc.gap_events ADD COLUMN first_id BIGINT;
ALTER TABLE calc.gap_events ADD COLUMN last_id BIGINT;
ALTER TABLE calc.gap_events ADD COLUMN trades BIGINT;
