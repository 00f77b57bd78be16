"""`tapewatch report`: the site, now."""

from __future__ import annotations

from flows.cli.call import Injected
from flows.cli.lake import context_of
from flows.cli.tables import print_json
from flows.context import reading
from flows.report import run_report
from flows.runs import own_id
from flows.times import moment


def report(*, at: str = "", call: Injected) -> None:
    """Render the whole site now, from what the warehouse holds; only what changed is rewritten.

    Example: tapewatch report --at 2024-03-01T12:00Z

    Parameters
    ----------
    at
        The moment to show, UTC; else now.
    """
    context = context_of(call)
    with reading(context) as con:
        done = run_report(context, con, own_id(), moment(at, "--at") if at else None)
    folder = context.settings.site_dir
    if call.json:
        print_json({"site_dir": str(folder), **vars(done)})
        return
    print(
        f"{folder / 'index.html'}: {len(done.written)} files written, {done.unchanged} unchanged, "
        f"{done.removed} removed in {done.took_ms / 1000:.1f} s"
    )
