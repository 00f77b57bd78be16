"""What history has touched is noted for the next render, and stays noted until one has ended well."""

from __future__ import annotations

from contextlib import suppress

from flows import touched
from flows.brought import Brought
from flows.deriving import derive_pending
from pipelines.market import Series
from tests.warehouse.conftest import NOON, Lake, bars


def test_a_derived_import_is_noted_until_a_render_has_obeyed(lake: Lake):
    lake.load(bars("BTCUSDT", NOON, 30), kind="import")
    derive_pending(lake.con, lake.context, "run-i", {}, Brought())
    with suppress(ZeroDivisionError), touched.obeyed(lake.context):
        _ = 1 / 0
    with touched.obeyed(lake.context) as series:
        touched.note(lake.context, [Series("binance", "ETHUSDT")])
    assert series == {Series("binance", "BTCUSDT")}
    with touched.obeyed(lake.context) as series:
        assert series == {Series("binance", "ETHUSDT")}
    with touched.obeyed(lake.context) as series:
        assert not series
