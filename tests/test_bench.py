"""What the benchmarks keep of a measurement, and what the README says of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.__main__ import LATEST, README, WHERE
from tests.bench.framework import Size, Times, known, measured, save, sides, signed
from tests.bench.readme import END, START, renewed, table


def test_the_table_in_the_readme_is_the_one_of_the_latest_measurement():
    text = README.read_text()
    assert START in text
    assert END in text
    order = list(WHERE)
    results = sorted(known(LATEST), key=lambda one: order.index(one.id))
    assert renewed(text, results) == text, "run `python -m tests.bench --table`"


def test_without_agreement_there_is_no_ratio():
    agreed = measured("a", "work", 2.0, "ms", theirs=10.0, agreement=True)
    assert agreed.ratio == 5.0
    assert measured("a", "work", 2.0, "ms", theirs=10.0, agreement=False).ratio is None
    assert measured("a", "work", 20.0, "/s", theirs=10.0, agreement=True).ratio == 2.0


def test_what_is_kept_says_where_when_and_how_much(tmp_path: Path):
    path = tmp_path / "latest.json"
    path.write_text(json.dumps([{"id": "old", "work": "", "peer": None, "ours": 1.0, "theirs": None, "unit": "s",
                                 "ratio": None, "agreement": None, "limit": None, "note": ""}]))  # fmt: skip
    ours, theirs = Times([3e-3]), Times([9e-3])
    ours.cpu, theirs.cpu = [2e-3], [8e-3]
    one = measured(
        "new", "some work", 3.0, "ms", peer="them", theirs=9.0, agreement=True, cpu=sides(ours, theirs)
    )
    save([signed(one, Size(quick=False, folder=tmp_path))], path)
    before, kept = known(path)
    assert (before.id, kept.id, kept.size, list(kept.cpu)) == ("old", "new", "full", [2.0, 8.0])
    told = table([before, kept])
    assert f"`make bench ARGS=--full` on {kept.machine}, {kept.measured_at}." in told
    assert "| new | some work | them | 3 | 9 | ms | 3 | CPU 2 / 8 |  |  |" in told
