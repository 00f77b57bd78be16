"""The minute and the pair scan must not wait for libraries they do not use."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["indicators", "detectors", "feed", "baseline", "scan"])
def test_the_statistics_import_only_numpy_and_polars(module: str) -> None:
    heavy = "{'scipy', 'statsmodels', 'pandas', 'numba', 'duckdb', 'prefect'}"
    code = f"import sys, pipelines.analytics.{module}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
