"""Logging: one line an event, readable on a terminal, JSON elsewhere; secrets are masked by value."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any

from pipelines.secrets import masked

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """`{"ts", "level", "logger", "event", ...}`: whatever was given as `extra` becomes a key of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return masked(json.dumps(line, default=str, ensure_ascii=False))


class TextLines(logging.Formatter):
    """`12:00:00 info  tapewatch  message  key=value`, UTC."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f"  {name}={value}" for name, value in _extra(record).items())
        line = f"{_moment(record):%H:%M:%S} {record.levelname.lower():<7} {record.getMessage()}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return masked(line)


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def set_up(level: str = "info", form: str = "auto", stream: IO[str] | None = None) -> logging.Handler:
    """One handler on the root logger, on stderr: commands keep stdout for their answer.

    form: `text`, `json`, or `auto`: text on a terminal, JSON elsewhere. Called again, it replaces its own.
    """
    out = stream or sys.stderr
    is_json = form == "json" or (form == "auto" and not out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines() if is_json else TextLines())
    handler.set_name("tapewatch")
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == "tapewatch"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "websockets", "asyncio", "great_expectations"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    return handler
