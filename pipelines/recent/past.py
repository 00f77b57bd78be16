"""What the minute knows of the past without asking the lake: the newest bars, their indicators' state, the calendars.

It stands for one state of the lake (`mark`). Between two runs it lies in a folder beside the lake, and the folder may
be deleted at any time. `head.json` says what is valid, and is replaced last; a new bar is appended to the matrices'
files behind the rows that the head knows. So a kill leaves the former past whole. A power cut can tear a file:
what was written before this boot of the machine is not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import polars as pl

from pipelines.recent.matrices import TS, Matrices, Place
from pipelines.recent.places import moment
from warehouse.changes import Mark

BOOT = Path("/proc/sys/kernel/random/boot_id")
HEAD = "head.json"
SESSIONS = ("open_ts", "close_ts", "closing_ts", "counted_from")
"""What is known of a session: see `warehouse.buckets`."""
SLACK = 500
"""Rows above those in use from which a file is written anew."""


class Baseline(NamedTuple):
    """The volumes of one interval that the coming bars are judged by: row `b` of `usual` is of bucket `first + b`.

    session: the one in force. usual: (buckets, columns of `pipelines.baselines`, series); NaN: none
    """

    session: date
    first: int
    usual: Matrices


@dataclass(frozen=True)
class Group:
    """The series of one source that follow one calendar, in the state of the lake at the past's mark.

    symbols:  sorted; a symbol's place is its number in every matrix
    sessions: SESSIONS of its calendar, sorted; empty for 24/7
    until:    market time (naive UTC) up to which its windows are closed
    newest:   the greatest id of its batches of kind `rest`
    bars:     interval -> ts, high, low, close, volume, ret_log and more (see `pipelines.recent.reading`)
    state:    interval -> ts and the carried indicator columns of the newest bars
    baseline: interval -> what the bars of the next hour are judged by
    judged_until: market time up to which baselines are at hand
    """

    source: str
    calendar: str
    symbols: tuple[str, ...]
    sessions: pl.DataFrame
    until: datetime
    newest: str
    bars: Mapping[str, Matrices]
    state: Mapping[str, Matrices]
    baseline: Mapping[str, Baseline]
    judged_until: datetime

    def newest_bars(self) -> dict[str, datetime]:
        """Symbol -> open time (naive UTC) of its newest minute."""
        if not self.symbols:
            return {}
        found = zip(self.symbols, self.bars["1m"].column(TS, 1)[0].tolist(), strict=True)
        return {symbol: moment(ts) for symbol, ts in found if ts == ts}


@dataclass(frozen=True)
class Past:
    """All series of the polled sources, in groups; digest: of the indicators' periods and the intervals."""

    mark: Mark
    digest: str
    groups: tuple[Group, ...]

    def of(self, source: str) -> list[Group]:
        """The source's groups: mostly one."""
        return [group for group in self.groups if group.source == source]

    def newest_bars(self, source: str) -> dict[str, datetime]:
        """Symbol -> open time (naive UTC) of the newest minute of each of the source's series."""
        return {symbol: ts for group in self.of(source) for symbol, ts in group.newest_bars().items()}


def recall(folder: Path, digest: str) -> Past | None:
    """What was remembered there under these periods; None if nothing was, or it cannot be read."""
    try:
        head = json.loads((folder / HEAD).read_text())
        if head["boot"] != BOOT.read_text() or head["digest"] != digest:
            return None
        snapshot, made_at, tables = head["mark"]
        mark = Mark(snapshot, datetime.fromisoformat(made_at), tables)
        return Past(mark, digest, tuple(_group(folder, told) for told in head["groups"]))
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
        return None


def remember(folder: Path, past: Past) -> Past:
    """Keeps it for the next run, and returns it as it lies there; only what is new is written.

    A full disk costs the next run its short cut and nothing more.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = replace(past, groups=tuple(_kept(folder, group) for group in past.groups))
        head = {
            "boot": BOOT.read_text(),
            "digest": past.digest,
            "mark": [past.mark.snapshot, past.mark.made_at.isoformat(), dict(past.mark.tables)],
            "groups": [_told(group) for group in kept.groups],
        }
        draft = folder / f"{HEAD}.tmp"
        draft.write_text(json.dumps(head))
        draft.replace(folder / HEAD)
        used = {part.place.file for group in kept.groups for part in _parts(group) if part.place}
        for path in folder.iterdir():
            if path.name not in used and path.name != HEAD:
                path.unlink(missing_ok=True)
    except OSError:
        return past
    return kept


def forget(folder: Path) -> None:
    """Nothing is remembered any more."""
    with suppress(OSError):
        (folder / HEAD).unlink(missing_ok=True)


def _parts(past: Group) -> list[Matrices]:
    return [*past.bars.values(), *past.state.values(), *(one.usual for one in past.baseline.values())]


def _kept(folder: Path, past: Group) -> Group:
    return replace(
        past,
        bars={name: _on_disk(folder, part) for name, part in past.bars.items()},
        state={name: _on_disk(folder, part) for name, part in past.state.items()},
        baseline={
            name: one._replace(usual=_on_disk(folder, one.usual)) for name, one in past.baseline.items()
        },
    )


def _on_disk(folder: Path, part: Matrices) -> Matrices:
    """The matrices with their new rows appended to their file, or in a file of their own."""
    if part.place and not len(part.new):
        return part
    if part.place and part.place.rows + len(part.new) <= len(part.old) + SLACK:
        path, before = folder / part.place.file, part.place.rows
        with path.open("r+b") as file:
            file.seek(before * part.old[0].nbytes)
            file.write(np.ascontiguousarray(part.new).tobytes())
        rows = before + len(part.new)
    else:
        path = folder / f"{uuid4().hex}.f64"
        whole = part.tail(len(part.old))
        np.ascontiguousarray(whole).tofile(path)
        rows = len(whole)
    return _opened(path, part.names, rows, len(part.old), part.series)


def _opened(path: Path, names: tuple[str, ...], rows: int, height: int, series: int) -> Matrices:
    shape = (rows, len(names), series)
    whole = np.memmap(path, dtype=np.float64, mode="r", shape=shape) if np.prod(shape) else np.empty(shape)
    return Matrices.of(names, whole[-height:] if height else whole, Place(path.name, rows))


def _told(past: Group) -> dict[str, Any]:
    """What the head says of a group."""
    plain = {name: getattr(past, name) for name in ("source", "calendar", "symbols", "newest")}
    return {
        **plain,
        "until": past.until.isoformat(),
        "judged_until": past.judged_until.isoformat(),
        "sessions": [
            [at and at.isoformat() for at in row] for row in past.sessions.select(SESSIONS).iter_rows()
        ],
        **{kind: {n: _place(p) for n, p in getattr(past, kind).items()} for kind in ("bars", "state")},
        "baseline": {
            name: [one.session.isoformat(), one.first, _place(one.usual)]
            for name, one in past.baseline.items()
        },
    }


def _place(part: Matrices) -> list[Any]:
    return [*(part.place or ("", 0)), len(part.old), part.names]


def _group(folder: Path, told: dict[str, Any]) -> Group:
    def opened(place: list[Any]) -> Matrices:
        file, rows, height, names = place
        return _opened(folder / file, tuple(names), rows, height, len(told["symbols"]))

    schema = dict.fromkeys(SESSIONS, pl.Datetime("us"))
    spans = [[at and datetime.fromisoformat(at) for at in span] for span in told["sessions"]]
    return Group(
        source=told["source"],
        calendar=told["calendar"],
        symbols=tuple(told["symbols"]),
        sessions=pl.DataFrame(spans, schema=schema, orient="row"),
        until=datetime.fromisoformat(told["until"]),
        newest=told["newest"],
        bars={name: opened(place) for name, place in told["bars"].items()},
        state={name: opened(place) for name, place in told["state"].items()},
        baseline={
            name: Baseline(date.fromisoformat(session), first, opened(place))
            for name, (session, first, place) in told["baseline"].items()
        },
        judged_until=datetime.fromisoformat(told["judged_until"]),
    )
