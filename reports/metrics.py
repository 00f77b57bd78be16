"""The platform's figures in Prometheus' text format, for node-exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines.market import utc
from reports.pages.health import newest_checks, run_summary
from reports.snapshot import Snapshot

Labels = Mapping[str, str]


def prometheus(snap: Snapshot) -> bytes:
    """One gauge a line; a figure that is not known is left out, never 0."""
    book = _Book()
    for feed in snap.feeds:
        labels = {"source": feed.source}
        book.add(
            "tapewatch_lag_seconds",
            "age of the slowest series' newest closed minute; absent while closed",
            feed.worst_lag_s,
            labels,
        )
        if feed.data_to:
            book.add(
                "tapewatch_data_timestamp_seconds",
                "end of the newest closed minute",
                utc(feed.data_to).timestamp(),
                labels,
            )
        book.add("tapewatch_market_open", "1 while the exchange trades", float(not feed.closed), labels)
    done = run_summary(snap.runs)
    book.add("tapewatch_runs_24h", "runs of the minute in 24 h", done["completed"], {"state": "completed"})
    book.add("tapewatch_runs_24h", "", done["failed"], {"state": "failed"})
    book.add("tapewatch_rows_loaded_24h", "rows loaded in 24 h", done["rows"])
    book.add("tapewatch_rows_quarantined_24h", "rows quarantined in 24 h", done["quarantined"])
    book.add("tapewatch_run_seconds", "median run time of the minute", done["median_s"], {"quantile": "0.5"})
    book.add("tapewatch_run_seconds", "", done["p95_s"], {"quantile": "0.95"})
    _stages(book, snap.latency)
    _streams(book, snap.options.collection)
    for state in ("pending", "firing"):
        book.add(
            "tapewatch_alerts",
            "alerts by state",
            snap.alerts.filter(pl.col("state") == state).height,
            {"state": state},
        )
    for state in ("queued", "sending", "dead"):
        book.add(
            "tapewatch_deliveries",
            "messages not delivered",
            snap.deliveries.filter(pl.col("state") == state).height,
            {"state": state},
        )
    book.add(
        "tapewatch_gaps_open",
        "gaps that wait for healing",
        snap.gaps.filter(pl.col("state").is_in(["open", "healing"])).height,
    )
    checks = newest_checks(snap.quality)
    book.add(
        "tapewatch_checks",
        "newest result of each data check",
        sum(c["passed"] for c in checks),
        {"result": "pass"},
    )
    book.add("tapewatch_checks", "", sum(not c["passed"] for c in checks), {"result": "fail"})
    book.add("tapewatch_series", "series the warehouse has met", snap.series.height)
    return book.text()


def _stages(book: _Book, latency: pl.DataFrame) -> None:
    for (stage,), rows in latency.group_by("stage", maintain_order=True):
        newest = rows.row(-1, named=True)
        for quantile, column in (("0.5", "p50_ms"), ("0.99", "p99_ms"), ("1", "max_ms")):
            if newest[column] is not None:
                book.add(
                    "processing_latency_seconds",
                    "stage latency of the newest run",
                    newest[column] / 1000,
                    {"stage": str(stage), "quantile": quantile},
                )


def _streams(book: _Book, collection: Mapping[str, Any]) -> None:
    """What the collector says of each stream; nothing while there is none."""
    for name, source in collection.get("sources", {}).items():
        labels = {"source": str(name)}
        book.add(
            "tick_messages_received_total",
            "websocket frames landed since the collector was started",
            source.get("frames"),
            labels,
        )
        book.add(
            "messages_per_second", "frames a second over the last minute", source.get("per_second"), labels
        )
        book.add("tapewatch_spool_backlog", "frames landed and not yet loaded", source.get("backlog"), labels)
        book.add(
            "kafka_consumer_lag", "tapewatch_spool_backlog by its usual name", source.get("backlog"), labels
        )
        book.add(
            "tapewatch_frames_dropped_total",
            "frames that the disk was too slow for",
            source.get("dropped"),
            labels,
        )


class _Book:
    """Samples grouped by metric, as the format demands."""

    def __init__(self) -> None:
        self.helps: dict[str, str] = {}
        self.samples: dict[str, list[str]] = {}

    def add(self, name: str, help_text: str, value: float | None, labels: Labels | None = None) -> None:
        if value is None:
            return
        self.helps.setdefault(name, help_text)
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in (labels or {}).items())
        self.samples.setdefault(name, []).append(
            f"{name}{{{inner}}} {value:.10g}" if inner else f"{name} {value:.10g}"
        )

    def text(self) -> bytes:
        lines = []
        for name, samples in self.samples.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {self.helps[name]}", f"# TYPE {name} {kind}", *samples]
        return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
