"""When the compiled twin of a module takes over."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

WORTH = 4e8
"""Multiplications from which loading numba, most of a second, pays."""


def compiled_twin(name: str, work: float, fast: bool | None) -> ModuleType | None:
    """The module `pipelines.analytics.NAME`, or None where its plain twin does.

    work: multiplications; fast: yes or no, else by the work and if the extra `fast` is installed
    """
    if fast is None:
        fast = work > WORTH and importlib.util.find_spec("numba") is not None
    return importlib.import_module(f"pipelines.analytics.{name}") if fast else None
