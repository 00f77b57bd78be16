"""Is the data right: one contract per table, judged by polars each minute, by Great Expectations hourly."""
