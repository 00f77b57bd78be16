"""Loops as machine code: the optional extra `fast`. Import this only where numba is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """The same function compiled at its first call and kept on disk; dividing by zero gives inf as in numpy."""
    return cast(Loop, numba.njit(cache=True, error_model="numpy")(loop))
