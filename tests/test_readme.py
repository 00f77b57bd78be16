"""The README says what is so."""

from __future__ import annotations

import re

from tests.capabilities import END, REPOSITORY, START, marks, renewed


def test_the_table_of_capabilities_is_the_one_the_marks_give():
    text = (REPOSITORY / "README.md").read_text()
    assert START in text
    assert END in text
    assert renewed(text, marks(REPOSITORY / "tests")) == text, "run `python -m tests.capabilities`"


def test_every_capability_of_the_first_job_has_a_test_that_carries_its_id():
    wanted = """ING-01 ING-08 ING-12 ING-13 ING-15 ING-16 RES-02 RES-03 RES-04 RES-06 RES-07 RES-08 IND-03 IND-10
        PAIR-01 PAIR-02 PAIR-05 PAIR-06 PAIR-07 PAIR-08 PAIR-09 ANO-01 ANO-02 ANO-03 ANO-04 ANO-05 ANO-06
        ALR-05 ALR-07 ALR-09 ALR-11 STO-01 STO-02 STO-03 STO-04 STO-05 STO-06 STO-07 STO-08 STO-09 STO-10
        API-01 API-02 API-03 API-04 API-05 API-06 API-07 API-08 API-12 API-13 API-15 API-16 API-18
        UI-01 UI-03 UI-05 UI-06 UI-08 UI-09 UI-10 OPS-03 OPS-04 OPS-05 OPS-07 OPS-10""".split()
    assert set(wanted) - set(marks(REPOSITORY / "tests")) == set()


def test_every_capability_of_the_analytics_has_a_test_that_carries_its_id():
    rows = (("IND", 11), ("PAIR", 11), ("ANO", 7))
    wanted = {f"{kind}-{number:02}" for kind, count in rows for number in range(1, count + 1)}
    wanted |= {f"API-{number:02}" for number in range(7, 14)} | {"RES-07", "M4", "M5", "M10"}
    assert wanted - set(marks(REPOSITORY / "tests")) == set()


def test_every_file_the_readme_links_to_is_there():
    text = (REPOSITORY / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
