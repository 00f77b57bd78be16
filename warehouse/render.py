"""The models: one SELECT a file, values in as literals."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from warehouse.stage import literal


class Sql(str):
    """A piece of SQL that goes into a model as it is."""


def render(model: str, **values: object) -> str:
    """The model's SELECT with each `$name` replaced by its literal; KeyError names a value that is missing."""
    return re.sub(r"\$([a-z_]+)", lambda match: _given(values[match[1]]), _text(model))


@cache
def _text(model: str) -> str:
    return (files("warehouse") / "models" / f"{model}.sql").read_text()


def _given(value: object) -> str:
    return value if isinstance(value, Sql) else literal(value)
