"""Speed beside the usual tools: `python -m tests.bench`."""

import os

THREADS = "TAPEWATCH_BENCH_THREADS"
"""One for each side; all cores in the second pass of `--full`."""

# Before any of them is imported: the same number of threads for the libraries of both sides.
for _name in (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "NUMBA_NUM_THREADS",
):
    os.environ.setdefault(_name, os.environ.get(THREADS, "1"))
