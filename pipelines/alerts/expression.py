"""The tree that a rule's text becomes: numbers, columns, arithmetic, comparisons and what joins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "truth"]
Columns = Mapping[str, Kind]


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind


@dataclass(frozen=True)
class Negative:
    inner: Expression


@dataclass(frozen=True)
class Absolute:
    inner: Expression


@dataclass(frozen=True)
class Arithmetic:
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Compare:
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class IsNull:
    inner: Expression


@dataclass(frozen=True)
class Not:
    inner: Expression


@dataclass(frozen=True)
class Both:
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Either:
    left: Expression
    right: Expression


Expression = Number | Column | Negative | Absolute | Arithmetic | Compare | IsNull | Not | Both | Either


def kind_of(node: Expression) -> Kind:
    """Whether a node gives a number or a truth."""
    if isinstance(node, Column):
        return node.kind
    return "number" if isinstance(node, Number | Negative | Absolute | Arithmetic) else "truth"


def names_in(node: Expression) -> list[str]:
    """The columns a node reads, in the order they are written, each once."""
    if isinstance(node, Column):
        return [node.name]
    inner = [getattr(node, part) for part in ("inner", "left", "right") if hasattr(node, part)]
    return list(dict.fromkeys(name for part in inner for name in names_in(part)))
