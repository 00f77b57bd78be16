"""`site_render`: what one minute costs the site, and a full render beside it."""

from __future__ import annotations

from datetime import datetime

from flows import alerting
from pipelines.alerts.history import Orders
from reports.site import publish
from tests.bench import lake
from tests.bench.framework import Measured, Size, measured, seconds
from tests.bench.minute import Ours
from tests.bench.tape import Tape


def run_site_render(size: Size) -> Measured:
    """The minute's render after a full one, for some dozens of symbols with a day or more of bars."""
    symbols, history = (20, 2_000) if size.quick else (50, 8_000)
    minutes = 3 if size.quick else 10
    tape = Tape.of(symbols, history + minutes)
    context, con = lake.built(size.folder / "site", tape, history)
    ours = Ours(context, con)
    folder = context.settings.site_dir
    now = tape.at(history)
    first, done = seconds(lambda: publish(con, folder, _options(context, now), "full"), 1)
    spent, written = [], 0
    for minute in range(history, history + minutes):
        now = tape.at(minute + 1)
        ours.run(tape.replies(minute - 4, minute + 1), now)
        took, published = seconds(lambda: publish(con, folder, _options(context, now), "minute"), 1)  # noqa: B023
        spent += took
        written = len(published.written)
    con.close()
    return measured(
        "site_render", f"The minute's render, {symbols} symbols", 1000 * min(spent), "ms",
        note=f"{written} of {written + published.unchanged} files changed; a full render takes {first[0]:.1f} s for "
        f"{len(done.written)} files. No peer: the others render in the browser from a server.",
    )  # fmt: skip


def _options(context: lake.Context, now: datetime) -> alerting.SiteOptions:
    return alerting.site_options(
        context, now, "bench", now, alerting.Watch(alerting.rules_of(context, Orders()))
    )
