"""What a connection to the lake may load."""

from __future__ import annotations

import shutil

import duckdb
import pytest

from warehouse.connect import shipped_extension


def test_once_the_lake_is_open_nothing_unsigned_can_be_loaded(lake, tmp_path):
    shipped = shipped_extension("sqlite_scanner")
    if shipped is None:
        pytest.skip("the extensions were not installed as wheels")
    forged = tmp_path / "forged.duckdb_extension"
    shutil.copyfile(shipped, forged)
    with forged.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(duckdb.IOException, match="signature"):
        lake.con.execute(f"LOAD '{forged}'")
    with pytest.raises(duckdb.InvalidInputException, match="Cannot change"):
        lake.con.execute("SET allow_unsigned_extensions = true")
