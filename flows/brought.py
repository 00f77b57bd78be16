"""What a backfill or an import did, counted while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from flows.runs import Tally
from pipelines.ingest import Ingested
from warehouse.load import Loaded

COUNTS = ("rows_loaded", "rows_revised", "rows_quarantined", "windows", "anomalies")


@dataclass
class Brought:
    """What a backfill or import did.

    Of a file, `rows_good`: accepted by the gate, whether new or known; `rows_repeated`: said again word for word what
    another row of the file says; `rows_timeless`: refused, without a time that can be read, so that nobody knows of which
    minutes they were.
    """

    rows_in: int = 0
    rows_good: int = 0
    rows_repeated: int = 0
    rows_loaded: int = 0
    rows_revised: int = 0
    rows_quarantined: int = 0
    rows_timeless: int = 0
    chunks: int = 0
    chunks_known: int = 0
    windows: int = 0
    anomalies: int = 0
    problems: list[str] = field(default_factory=list)
    silent: list[tuple[str, pl.DataFrame]] = field(default_factory=list)
    """Source -> minutes (symbol, ts) that it listed without a value."""
    by_source: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of a backfill, COUNTS source by source."""

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}

    def note(self, source: str, before: dict[str, int]) -> None:
        """What has come since `before` (`counts` of then) is of this source."""
        self.by_source[source] = {name: count - before[name] for name, count in self.counts().items()}

    def add(self, rows_in: int, loaded: Loaded) -> None:
        self.rows_in += rows_in
        self.rows_loaded += loaded.rows_new
        self.rows_revised += loaded.rows_revised
        self.rows_quarantined += loaded.rows_quarantined
        self.chunks += 1
        self.chunks_known += loaded.already

    def take(self, result: Ingested, parts: int) -> None:
        """What a chunk of a backfill gave; it stands for so many symbols' chunks."""
        self.rows_in += result.rows_in
        self.rows_loaded += sum(load.rows_new for load in result.loads)
        self.rows_revised += sum(load.rows_revised for load in result.loads)
        self.rows_quarantined += result.rows_quarantined
        self.chunks += parts
        self.silent.append((result.source, result.silent))
        self.problems += sorted({failure.detail for failure in result.failures})

    def derived(self) -> str:
        """`24 windows, 1 anomaly`"""
        windows, anomalies = self.windows == 1, self.anomalies == 1
        return (
            f"{self.windows:,} window{'' if windows else 's'}, "
            f"{self.anomalies:,} anomal{'y' if anomalies else 'ies'}"
        )

    def tell(self, tally: Tally) -> None:
        """Into the run's row in `runs`."""
        tally.rows_in, tally.rows_loaded = self.rows_in, self.rows_loaded + self.rows_revised
        tally.rows_quarantined = self.rows_quarantined
        told = f"{self.chunks_known} of {self.chunks} chunks known, {self.derived()}"
        if self.rows_timeless:
            told += f", {self.rows_timeless} refused rows without a readable time"
        tally.detail = "; ".join([told, *self.problems])[:500]
