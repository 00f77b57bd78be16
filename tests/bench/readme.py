"""The README's table of speed, made from `benchmarks/latest.json`: `python -m tests.bench --table`."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.framework import Measured, Sides

START, END = "<!-- bench -->", "<!-- /bench -->"
HEAD = ("id", "work", "peer", "ours", "theirs", "unit", "times better", "other clock", "all cores", "at best")
FOOT = (
    "One thread for each side; where the two disagree there is no ratio, below 1 we are slower. `other clock` is the\n"
    "processor's time, ours / theirs, or the wall's where the processor's is compared; `all cores` is wall time where\n"
    "more than one core can help; `at best` what the machine could do, by memory, arithmetic or sorting. Where a peer\n"
    "would take hours it was sampled and scaled up; the notes in `benchmarks/latest.json` say so."
)


def renewed(readme: str, results: Sequence[Measured]) -> str:
    """The README with its table brought up to date."""
    before, _, rest = readme.partition(START)
    return before + table(results) + rest.partition(END)[2]


def table(results: Sequence[Measured]) -> str:
    """Where and when, a Markdown table with one row a benchmark, and how to read it."""
    rows = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    rows += [f"| {' | '.join(_cells(one))} |" for one in results]
    return "\n".join([START, *_origins(results), "", *rows, "", FOOT, END])


def _origins(results: Sequence[Measured]) -> list[str]:
    """A line for each machine, day and size; the most frequent first and without the list of its ids."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in results:
        if one.machine:
            groups.setdefault((one.size, one.machine, one.measured_at), []).append(one.id)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [
        f"`make bench ARGS=--{size}` on {machine}, {day}" + (f" ({', '.join(ids)})." if rank else ".")
        for rank, ((size, machine, day), ids) in enumerate(ordered)
    ]


def _cells(one: Measured) -> tuple[str, ...]:
    ratio = f"{one.ratio:,.4g}" if one.ratio and one.ratio < 10_000 else _number(one.ratio)
    return (
        one.id, one.work, one.peer or "", _number(one.ours), _number(one.theirs), one.unit, ratio,
        _other(one), _sides(one.all_cores), _number(one.bound),
    )  # fmt: skip


def _other(one: Measured) -> str:
    return f"CPU {_sides(one.cpu)}" if one.cpu else f"wall {_sides(one.wall)}" if one.wall else ""


def _sides(sides: Sides | None) -> str:
    return (
        ""
        if sides is None
        else f"{_number(sides[0])} / {_number(sides[1])}"
        if sides[1]
        else _number(sides[0])
    )


def _number(value: float | None) -> str:
    """Four significant digits, thousands apart."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
