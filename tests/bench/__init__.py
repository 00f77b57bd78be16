"""Speed beside the usual tools: `python -m tests.bench`."""

import os

# Before any of them is imported: one thread for the libraries of both sides.
for _name in (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "NUMBA_NUM_THREADS",
):
    os.environ.setdefault(_name, "1")
