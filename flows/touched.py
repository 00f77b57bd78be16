"""Series whose history was loaded beside the minute: noted when it is derived, obeyed by the next render.

A note is a file of its own in `data/run/touched`, so that writers and renders never meet; a render removes the
notes it has obeyed, and one that fails leaves them to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from flows.context import Context
from pipelines.market import Series


def note(context: Context, series: Iterable[Series]) -> None:
    """Notes that files of these series are out of date whatever their newest bar says."""
    named = sorted(set(series))
    if not named:
        return
    folder = _folder(context)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{uuid4().hex}"
    draft.write_text(json.dumps(named))
    draft.replace(folder / f"{uuid4().hex}.json")


@contextmanager
def obeyed(context: Context) -> Iterator[frozenset[Series]]:
    """The series noted so far; the notes go when the render inside has ended well."""
    notes = list(_folder(context).glob("*.json"))
    yield frozenset(Series(*named) for path in notes for named in json.loads(path.read_text()))
    for path in notes:
        path.unlink(missing_ok=True)


def _folder(context: Context) -> Path:
    return context.settings.data_dir / "run" / "touched"
