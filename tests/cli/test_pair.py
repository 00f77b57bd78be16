"""`tapewatch pair`: any two stored series, by the names of pair_stats."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.analytics.fits import SCHEMA
from tests.cli.conftest import Said

Command = Callable[..., Said]


@pytest.mark.capability("PAIR-10")
def test_a_pair_of_one_s_own_choice(lake: Path, tapewatch: Command) -> None:
    row = tapewatch(
        "pair", "y", "lab:x", "--lookback", "400", "--window", "30", "--lags", "bic", "--json"
    ).json()
    assert list(row) == list(SCHEMA)
    assert (row["pair"], row["n"], row["is_cointegrated"]) == ("lab-Y~lab-X", 400, True)
    assert row["beta_ols"] == pytest.approx(0.8, abs=0.05)
    shown = tapewatch("pair", "Y", "lab:X", "--lookback", "400").out
    assert all(
        name in shown for name in ("beta_theil_sen", "eg_p_swapped", "half_life_bars", "johansen_trace_0")
    )
    assert "in the worse order, 1 pair tested" in shown


@pytest.mark.capability("PAIR-10")
def test_levels_lags_and_other_intervals(lake: Path, tapewatch: Command) -> None:
    level = tapewatch("pair", "Y", "lab:X", "--level", "--lags", "2", "--lookback", "300", "--json").json()
    assert (level["n"], level["interval"]) == (300, "1m")
    assert level["beta_ols"] == pytest.approx(0.8 * math.e * 100**-0.2, abs=0.06)
    few = tapewatch("pair", "Y", "lab:X", "--interval", "5m", "--json").json()
    assert (few["state"], few["n"], few["p_max"]) == ("untested", 84, None)


@pytest.mark.capability("PAIR-09", "PAIR-10")
def test_seconds_of_two_streams_of_trades_are_a_pair(bare: Path, tapewatch: Command) -> None:
    """The pair, window and look-back that an older system recommends: BTCUSDT and ETHUSDT by the second, 20 and 600."""
    dice, path, apart, rows = random.Random(5), 10.0, 0.0, []
    for second in range(600):
        path += dice.gauss(0, 1e-4)
        apart = 0.7 * apart + dice.gauss(0, 1e-4)
        for number, (symbol, log) in enumerate((("BTCUSDT", path), ("ETHUSDT", 0.8 * path + apart))):
            at = f"2024-03-04T00:{second // 60:02}:{second % 60:02}Z"
            rows.append(f"{symbol},{at},{2 * second + number},{math.exp(log):.8f},1\n")
    (bare / "trades.csv").write_text("".join(["symbol,ts,trade_id,price,qty\n", *rows]))
    assert tapewatch("import", str(bare / "trades.csv"), "--source", "lab", "--no-derive").code == 0
    names = ("--interval", "1s", "--window", "20", "--lookback", "600")
    row = tapewatch("pair", "ETHUSDT", "BTCUSDT", *names, "--json").json()
    assert (row["interval"], row["n"], row["is_cointegrated"]) == ("1s", 600, True)
    assert row["beta_ols"] == pytest.approx(0.8, abs=0.05)
    assert row["zscore"] is not None


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["x", "y"], 1, "x is ambiguous: write also:X or lab:X"),
        (["lab:Z", "y"], 1, "no such series in the warehouse; did you mean lab:X or lab:Y"),
        (["y", "y"], 2, "against itself"),
        (["y", "lab:x", "--lags", "many"], 2, "write aic, bic, or a number"),
        (["y", "lab:x", "--window", "700"], 2, "--window 700"),
        (["y", "lab:x", "--interval", "7m"], 1, "no complete 7m bars"),
    ],
)
def test_what_cannot_be_fitted_is_said(
    lake: Path, tapewatch: Command, argv: list[str], code: int, words: str
) -> None:
    said = tapewatch("pair", *argv)
    assert said.code == code
    assert words in said.err
