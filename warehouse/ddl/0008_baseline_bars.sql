-- Bars a baseline is made of: more than its sessions where a whole slot of the session stands in for a thin minute.
ALTER TABLE calc.volume_baseline ADD COLUMN bars INTEGER;
