"""Limits from history give about as many alerts a day as asked for, on days they have not seen."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.analytics.budget import LIMITS, SLOT, episodes, limits, with_limits
from pipelines.replica.instruments import LISTED
from pipelines.replica.tape import SimulatedMarket

pytestmark = pytest.mark.capability("M10")
SESSIONS, SEEN, BUCKETS, SERIES = 100, 60, 78, 15
COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
DAY_S = 86_400
JULY = 20_641 * DAY_S
WARM, HELD_OUT, DAYS = 20, 128, 200


def market(seed: int) -> pl.DataFrame:
    """Five-minute bars: a U over the session, fat tails, every series with its own noise; 40 surges per hundred days."""
    rng = np.random.default_rng(seed)
    shape = (SERIES, SESSIONS, BUCKETS)
    curve = 1 + 2 * np.abs(np.linspace(-1, 1, BUCKETS)) ** 3
    noise = rng.uniform(0.5, 2.0, (SERIES, 1, 1))
    price = 0.2 * noise * curve * rng.standard_t(4, shape)
    volume = np.exp(0.35 * noise * rng.standard_t(5, shape))
    surge = np.zeros(shape, dtype=bool)
    surge.ravel()[rng.choice(surge.size, 40 * SERIES // 10, replace=False)] = True
    volume[surge] *= 40
    series, session, bucket = (axis.ravel() for axis in np.indices(shape))
    first = date(2026, 1, 1)
    days = pl.Series([first + timedelta(days=day) for day in range(SESSIONS)])
    return pl.DataFrame(
        {"source": "sim", "symbol": pl.Series(series).cast(pl.String), "interval": "5m", "session": days[session],
         "bucket": bucket * 5, "dev_20_pct": price.ravel(), "volume_ratio": volume.ravel(), "surge": surge.ravel()}
    )  # fmt: skip


def alerts(bars: pl.DataFrame, known: pl.DataFrame) -> int:
    count = 0
    for kind, score in (("price_spike", pl.col("dev_20_pct").abs()), ("volume", pl.col("volume_ratio"))):
        rows = with_limits(bars, known, kind, "limit").with_columns(
            above=score / pl.col("limit"),
            minute=pl.col("session").to_physical().cast(pl.Int64) * 1440 + pl.col("bucket"),
        )
        rows = rows.with_columns(series=pl.col("symbol").cast(pl.Int64)).sort("series", "minute")
        count += episodes(rows["series"].to_numpy(), rows["minute"].to_numpy(), rows["above"].to_numpy(), 1.0)
    return count


@pytest.mark.parametrize(("seed", "per_day"), [(1, 5.0), (2, 10.0)])
def test_unseen_days_keep_to_the_budget_and_surges_are_still_seen(seed: int, per_day: float) -> None:
    bars = market(seed)
    border = date(2026, 1, 1) + timedelta(days=SEEN)
    known = limits(bars.filter(pl.col("session") < border), per_day)
    unseen = bars.filter(pl.col("session") >= border)
    a_day = alerts(unseen, known) / (SESSIONS - SEEN)
    assert 0.8 * per_day <= a_day <= 1.2 * per_day
    surges = with_limits(unseen.filter("surge"), known, "volume", "limit")
    assert (surges["volume_ratio"] > surges["limit"]).mean() >= 0.7


def taped(tape: SimulatedMarket) -> pl.DataFrame:
    """Five-minute bars of the replica's coins, judged against the 20 bars before and the 20 days before."""
    parts = []
    for number, symbol in enumerate(COINS):
        bars = tape.bars(LISTED[symbol], JULY, JULY + DAYS * DAY_S)
        minutes = pl.DataFrame({"ts": bars.ts, "close": bars.close, "volume": bars.volume})
        fives = minutes.group_by(pl.col("ts").cast(pl.Int64) // 300 * 300, maintain_order=True).agg(
            pl.col("close").last(), pl.col("volume").sum()
        )
        parts.append(
            fives.with_columns(
                day=(pl.col("ts") - JULY) // DAY_S,
                bucket=pl.col("ts") % DAY_S // 60,
                symbol=pl.lit(str(number)),
            )
        )
    before = pl.col("close").shift(1).rolling_mean(20).over("symbol")
    usual = pl.col("volume").shift(1).rolling_median(20).over("symbol", "bucket")
    rows = pl.concat(parts).with_columns(
        source=pl.lit("sim"),
        interval=pl.lit("5m"),
        session=pl.date(2026, 1, 1).dt.offset_by(pl.format("{}d", "day")),
        dev_20_pct=100 * (pl.col("close") / before - 1),
        volume_ratio=pl.col("volume") / usual,
    )
    return rows.filter(pl.col("day") >= WARM)


def test_held_out_days_of_the_replicas_market_keep_to_the_budget_and_its_shocks_are_seen() -> None:
    """Three markets, 108 days known and 72 not; one market alone may be a quarter off."""
    a_day: list[float] = []
    seen: dict[str, list[bool]] = {}
    for seed in (7, 8, 9):
        tape = SimulatedMarket(seed)
        bars = taped(tape)
        known = limits(bars.filter(pl.col("day") < HELD_OUT), 5.0)
        unseen = bars.filter(pl.col("day") >= HELD_OUT)
        a_day.append(alerts(unseen, known) / (DAYS - HELD_OUT))
        above = pl.concat(
            with_limits(unseen, known, kind, "limit").filter(score > pl.col("limit"))
            for kind, score in (
                ("price_spike", pl.col("dev_20_pct").abs()),
                ("volume", pl.col("volume_ratio")),
            )
        )
        for shock in tape.labels(
            [LISTED[coin] for coin in COINS], JULY + HELD_OUT * DAY_S, JULY + DAYS * DAY_S
        ):
            during = pl.col("ts").is_between(shock.start_s - 299, max(shock.end_s, shock.start_s + 300) - 1)
            hit = above.filter(during, pl.col("symbol") == str(COINS.index(shock.symbol))).height > 0
            seen.setdefault(shock.kind, []).append(hit)
    recall = {kind: f"{sum(hits)} of {len(hits)}" for kind, hits in seen.items()}
    print(f"alerts a day {a_day}, shocks seen {recall}")
    assert 0.8 * 5 <= np.mean(a_day) <= 1.2 * 5
    del seen["frozen"]  # a market that stands still is the feed's alarm
    assert all(sum(hits) == len(hits) > 10 for hits in seen.values())


def test_a_limit_follows_the_time_of_day_and_the_series() -> None:
    known = limits(market(1), 5.0)
    price = known.filter(kind="price_spike").sort("symbol", "slot")
    first = price.filter(symbol="0")
    assert first["limit"][0] > 1.5 * first["limit"][6]
    assert price.group_by("symbol").agg(pl.col("limit").mean())["limit"].std() > 0.1
    assert known["slot"].max() == BUCKETS * 5 // SLOT - 1
    assert dict(known.schema) == LIMITS


def test_a_larger_budget_has_lower_limits() -> None:
    bars = market(3)
    few, many = (limits(bars, n).sort(pl.all()) for n in (2.0, 20.0))
    both = few.join(many, on=["symbol", "kind", "slot"], suffix="_many")
    assert (both["limit"] > both["limit_many"]).all()


def test_one_event_is_one_alert() -> None:
    minutes = np.array([0, 5, 10, 29, 30, 70, 0])
    series = np.array([1, 1, 1, 1, 1, 1, 2])
    assert episodes(series, minutes, np.full(7, 9.0), 3.0) == 4


def test_too_little_history_has_no_limits() -> None:
    assert limits(market(1).filter(pl.col("session") < date(2026, 1, 4)), 5.0).is_empty()
