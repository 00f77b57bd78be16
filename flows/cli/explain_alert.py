"""An alert's evidence, and its rule held once more against the stored row it judged."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from flows.cli.explanation import Check, Explanation
from flows.cli.lake import Connection, Row, rows
from pipelines.alerts.evaluate import truth
from pipelines.alerts.evidence import label_of
from pipelines.alerts.expression import Kind
from pipelines.alerts.grammar import RuleSyntaxError, parse
from pipelines.market import naive, utc
from warehouse.stage import literal


def explain_alert(con: Connection, row: Row) -> Explanation:
    """The rule, what it read, and whether the stored row still says so."""
    evidence: dict[str, Any] = json.loads(row["evidence"] or "{}")
    subject = row["pair"] or ":".join(filter(None, (row["source"], row["symbol"])))
    told = Explanation(f"{row['rule']} on {subject}: {row['state']}")
    names = ("severity", "interval", "started_at", "fired_at", "resolved_at", "acked_at", "fingerprint")
    told.facts = {name: row[name] for name in names}
    shown = ("expression", "clear", "version", "bars", "ts", "run_id", "reason")
    told.facts |= {name: evidence[name] for name in shown if evidence.get(name) is not None}
    told.facts |= _course(row, evidence)
    told.formulas = _formulas(evidence)
    if baseline := evidence.get("baseline"):
        told.formulas.append(
            f"against {baseline['name']}: {_number(baseline['value'])}, observed {_number(baseline['observed'])}"
        )
    told.sample_name = "What the rule read"
    measured = evidence.get("columns") or {}
    told.sample = [{"column": name, "value": value} for name, value in measured.items()]
    _recompute(con, row, evidence, told)
    return told


def _course(row: Row, evidence: dict[str, Any]) -> dict[str, str]:
    """What it fired with, what it rose to and what ended it; empty while it is pending."""
    if row["fired_at"] is None:
        return {}
    found = {"fired with": f"{_number(row['value'])}, limit {_number(row['threshold'])}"}
    for name, word in (("worst", "at worst"), ("end", "ended with")):
        if reading := evidence.get(name):
            found[word] = (
                f"{_number(reading['value'])} in the bar of {reading['ts'][:16].replace('T', ' ')} UTC"
            )
    return found


def _formulas(evidence: dict[str, Any]) -> list[str]:
    """The comparison that decided, and the whole condition with its numbers put in."""
    lines = []
    if evidence.get("column"):
        measured, value, threshold = evidence["measured"], evidence["value"], evidence["threshold"]
        lines.append(
            f"{label_of(evidence['column'])}: {measured} = {_number(value)} {evidence['operator']} {_number(threshold)}"
        )
    if (held := _holds(evidence)) is not None:
        lines.append(f"{evidence['expression']}: {'true' if held else 'false'} on these columns")
    return lines


def _holds(evidence: dict[str, Any]) -> bool | None:
    measured = evidence.get("columns") or {}
    kinds: dict[str, Kind] = {
        name: "truth" if isinstance(value, bool) else "number" for name, value in measured.items()
    }
    try:
        return truth(parse(evidence.get("expression", ""), kinds), measured)
    except RuleSyntaxError:  # a truth that was null reads like a number
        return None


def _recompute(con: Connection, row: Row, evidence: dict[str, Any], told: Explanation) -> None:
    """The columns as they are stored today for the same bar."""
    measured = {
        name: value for name, value in (evidence.get("columns") or {}).items() if type(value) in (int, float)
    }
    if evidence.get("subject") == "feed" or not evidence.get("ts"):
        told.notes.append(
            "A feed is judged as it is at that moment; its state is not kept, the evidence is all there is."
        )
        return
    told.sql = _sql(row, utc(datetime.fromisoformat(evidence["ts"])))
    stored = rows(con, told.sql)
    if not stored:
        told.notes.append("The row it was judged on is not in the warehouse any more.")
        return
    told.checks = [Check(name, value, stored[0].get(name)) for name, value in measured.items()]
    if not all(check.is_equal for check in told.checks):
        told.notes.append("Something differs: the bar was revised, or bars before it came, after the alert.")


def _sql(row: Row, ts: datetime) -> str:
    if row["pair"]:
        return f"""
SELECT * FROM pair_stats
WHERE pair = {literal(row["pair"])} AND interval = {literal(row["interval"])} AND fitted_at = {literal(naive(ts))};"""
    return f"""
SELECT * FROM ohlcv JOIN indicators USING (source, symbol, interval, ts)
WHERE source = {literal(row["source"])} AND symbol = {literal(row["symbol"])}
  AND interval = {literal(row["interval"])} AND ts = {literal(naive(ts))};"""


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.6g}"
