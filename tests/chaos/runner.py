"""`python -m tests.chaos.runner`: for each line on stdin (run, heal, maintain) that work in a process of its own.

Everything is imported once; a run is a fork, so that it begins at once and can be killed at any moment of its work.
Says `started PID`, what the run acknowledges (`ack BATCH ROWS`, `done STATE`), and `ended STATUS`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from flows import walk
from flows.context import assemble, prepare, writing
from flows.healing import run_heal
from flows.maintain import run_maintenance
from flows.processes import die_with_parent
from flows.streaming import load_streamed
from warehouse.connect import connect

GIVE_UP_AFTER = timedelta(minutes=15)
"""Later than the longest pause that a venue's refusal makes."""


def main() -> None:
    die_with_parent()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(WORK[line.strip()])
        say(f"started {child}")
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


def minute() -> None:
    """The steps of `flows.minute` up to the record of the run; what it says is on disk when it says so."""
    context = assemble()
    con = connect(context.location)
    con.execute("SET threads = 1")
    prepare(con, context)
    run = walk.Run(context, con, str(uuid4()), datetime.now(UTC), walk.recall(context, con))
    feeds = context.feeds()
    for feed in feeds:
        walk.ingest(run, feed)
    load_streamed(run, feeds)
    walk.derive_and_alert(run)
    for one in run.ingested:
        for delivery, loaded in zip(one.deliveries, one.loads, strict=True):
            say(f"ack {delivery.batch.batch_id} {loaded.rows_new + loaded.rows_revised}")
    walk.record(run, "Completed")
    say("done " + ",".join(f"{one.source}={one.state}" for one in run.ingested))


def heal() -> None:
    """The step of `flows.healing`, a little sooner resigned."""
    context = assemble()
    with writing(context) as con:
        run_heal(context, con, str(uuid4()), give_up_after=GIVE_UP_AFTER)


def maintain() -> None:
    """The step of `flows.maintain`."""
    context = assemble()
    with writing(context) as con:
        run_maintenance(context, con, str(uuid4()))


WORK = {"run": minute, "heal": heal, "maintain": maintain}


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def _child(work: Callable[[], None]) -> None:
    die_with_parent()
    code = 1
    try:
        work()
        code = 0
    except Exception:  # a run that fails is part of the game
        logging.exception("run failed")
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
