"""One line of `doctor`: what was looked at, how it is, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """A check's result; `mend` says what to do and is empty where all is well."""

    check: str
    state: State
    detail: str
    mend: str = ""

    def row(self) -> dict[str, Any]:
        return asdict(self)


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def warn(check: str, detail: str, mend: str) -> Finding:
    return Finding(check, "warn", detail, mend)


def fail(check: str, detail: str, mend: str) -> Finding:
    return Finding(check, "fail", detail, mend)
