"""Templates are compiled once for all processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import jinja2
import pytest

from reports import render


def test_the_next_process_finds_the_templates_compiled_and_no_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def template() -> jinja2.Template:
        render.environment.cache_clear()
        render.keep_compiled(tmp_path)
        return render.environment().get_template("runs.html")

    (tmp_path / "older").mkdir()
    made = template()
    monkeypatch.setattr(jinja2.Environment, "compile", None)
    found = template()
    monkeypatch.undo()
    render.environment.cache_clear()
    assert found.root_render_func.__code__ == made.root_render_func.__code__
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == [render.version()]


def test_a_page_is_written_although_its_template_cannot_be_kept(tmp_path: Path):
    render.environment.cache_clear()
    render.keep_compiled(tmp_path / "kept")
    shutil.rmtree(tmp_path / "kept")
    assert render.environment().get_template("runs.html").name == "runs.html"
    render.environment.cache_clear()
