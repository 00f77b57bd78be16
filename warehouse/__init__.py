"""WHAT IS KEPT: the DuckLake, its tables, models and public views."""
