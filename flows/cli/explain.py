"""`tapewatch explain`: why it fired, recomputed."""

from __future__ import annotations

import json
from typing import Any

from flows.cli.alerts import known_id
from flows.cli.call import Injected
from flows.cli.explain_alert import explain_alert
from flows.cli.explain_anomaly import explain_anomaly, take_back
from flows.cli.explain_pair import explain_pair, newest_fit
from flows.cli.explanation import Explanation
from flows.cli.lake import Connection, close_to, context_of, rows
from flows.cli.tables import print_json, spelt, table
from flows.context import reading
from pipelines.market import Series
from warehouse.errors import TapewatchError
from warehouse.stage import literal

WITHDRAWN = "anomalies_withdrawn"


def explain(id: str, /, *, call: Injected) -> None:
    """Recompute an alert, an anomaly or a pair's verdict from stored rows: window, baseline, formula with numbers, run, SQL.

    Each number that was stored stands beside the one computed now; they differ where rows came or changed since.

    Example: tapewatch explain 4f0c2d11 --json

    Parameters
    ----------
    id
        Id of a row of alerts or anomalies (also of one that was withdrawn), or its beginning; or a pair as pair_stats names it: A~B.
    """
    context = context_of(call)
    with reading(context) as con:
        if "~" in id:
            view, row = "pair_stats", newest_fit(con, "~".join(map(_slug, id.split("~"))))
            told = explain_pair(con, context, row)
        else:
            view, whole = _found(con, id)
            newest = " ORDER BY withdrawn_at DESC" if view == WITHDRAWN else ""
            row = rows(con, f"SELECT * FROM {view} WHERE id = {literal(whole)}{newest}")[0]
            told = explain_alert(con, row) if view == "alerts" else explain_anomaly(con, context, row)
            if view == WITHDRAWN:
                take_back(told, row)
    if call.json:
        print_json({"view": view, **_plain(row), "explanation": told.as_json()})
    else:
        _tell(view, row, told)


def _slug(leg: str) -> str:
    """A leg as pair_stats names it, also where it was written source:SYMBOL."""
    source, colon, symbol = leg.partition(":")
    return Series(source, symbol).slug if colon else leg


def _found(con: Connection, given: str) -> tuple[str, str]:
    """(view, whole id); TapewatchError tells how ids are listed."""
    hits = {view: _starting(con, view, given) for view in ("anomalies", "alerts")}
    if not any(hits.values()):
        hits[WITHDRAWN] = _starting(con, WITHDRAWN, given)
    views = [view for view, ids in hits.items() if ids]
    if len(views) == 1:
        return views[0], known_id(con, views[0], given)
    if views:
        both = ", ".join(one for ids in hits.values() for one in ids)
        raise TapewatchError(f"{given}: several ids begin so: {both}; write more of it")
    ids = [row["id"] for row in rows(con, "SELECT id FROM anomalies ORDER BY ts DESC LIMIT 1000")]
    raise TapewatchError(
        f"{given}: neither an alert nor an anomaly has this id{close_to(given, ids)}; `tapewatch alerts list` and "
        '`tapewatch sql "SELECT id, ts, symbol, kind, reason FROM anomalies ORDER BY ts DESC LIMIT 20"` list them'
    )


def _starting(con: Connection, view: str, given: str) -> list[str]:
    query = f"SELECT DISTINCT id FROM {view} WHERE starts_with(id, {literal(given)}) ORDER BY id LIMIT 6"
    return [row["id"] for row in rows(con, query)]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its evidence as an object."""
    return row | ({"evidence": json.loads(row["evidence"] or "{}")} if "evidence" in row else {})


def _tell(view: str, row: dict[str, Any], told: Explanation) -> None:
    print(f"{row.get('id') or row['pair']} ({view}): {told.headline}")
    for name, value in told.facts.items():
        print(f"  {name:<12} {spelt(value)}")
    if told.sample:
        print(f"\n{told.sample_name}, {len(told.sample)} rows")
        table(told.sample, list(told.sample[0]))
    if told.formulas:
        print("\nFormula")
        for formula in told.formulas:
            print(f"  {formula}")
    if told.checks:
        print("\nStored against recomputed")
        table([check.row() for check in told.checks], ("number", "stored", "recomputed", "verdict"))
    for note in told.notes:
        print(f"\n{note}")
    if told.sql:
        print(f"\nSQL\n{told.sql.strip()}")
