"""Import in Prefect: a file of bars or trades into the warehouse."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from prefect import flow, task
from prefect.runtime import flow_run

from flows import user_files
from flows.context import assemble, writing
from flows.run_names import run_name


@task(name="load file")
def load_file(file: str, source: str, symbol: str | None, interval: str | None) -> dict[str, int | list[str]]:
    """The file's good rows loaded once, its bad ones in quarantine with their line."""
    context = assemble()
    with writing(context) as con:
        return vars(
            user_files.import_file(
                con, context, str(flow_run.id or uuid4()), Path(file), source, symbol, interval
            )
        )


@flow(name="import", log_prints=False, flow_run_name=run_name)
def import_file(
    file: str, source: str, symbol: str | None = None, interval: str | None = None
) -> dict[str, int | list[str]]:
    """Bars or trades of a CSV, Parquet or Binance bulk file on the worker's machine.

    Args:
        file: Path of the file on the machine where the worker runs.
        source: Name of the venue the rows belong to; any name.
        symbol: The series' symbol; empty where the file has a symbol column or a Binance bulk name.
        interval: Width of the bars, such as 1m; empty: by the distance between the rows.
    """
    return load_file(file, source, symbol, interval)
