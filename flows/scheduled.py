"""What Prefect knows of the run that is under way, in plain types."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.runtime import flow_run


def scheduled_start() -> datetime | None:
    """When the flow run this is called in was to begin (aware UTC); None outside of one."""
    if flow_run.id is None:
        return None
    # Prefect hands out its own subclass of datetime, which does not subtract like one.
    return datetime.fromtimestamp(flow_run.scheduled_start_time.timestamp(), UTC)
