-- Whether a window holds a minute that a standby brought (origin fallback): another venue's volume is not judged by the
-- source's own, nor is it part of what is usual. Null: a window of before this column.
ALTER TABLE calc.windows ADD COLUMN lent BOOLEAN;
