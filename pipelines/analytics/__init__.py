"""Statistics of the tape: indicators, baselines, detectors, pairs. Pure functions from frames to frames."""
