"""Facts in words: what, how abnormal against what, since when. No HTML here; templates escape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.alerts.columns import REFERENCE_OF, WORDS
from pipelines.alerts.episodes import begun
from pipelines.market import Series, slug, utc
from reports.notify.message import Facts, Site
from reports.text import NONE, UNITS, compact, duration, is_missing, kind_name

_SIGNED = ("dev_20_pct", "zscore", "zscore_20")
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Line:
    """One abnormal thing, in the columns of a message.

    what: "Volume 15m".  against: "412 vs 64.1 usual".  how: "6.4×".  note: the rest.
    since: "09:12", the open of the first bar that was abnormal; when an alert of it fired is in the note.
    id: of an alert, for the commands about it.
    tone: critical, high, medium, info or resolved; `mark` is its word.
    """

    tone: str
    mark: str
    name: str
    what: str
    against: str
    how: str
    since: str
    note: str = ""
    spark: str = ""
    link: str | None = None
    id: str = ""

    @property
    def sentence(self) -> str:
        """The line for a chat: `CRITICAL BTCUSDT Volume 15m: 6.4× (412 vs 64.1 usual), since 09:12`."""
        against = f"({self.against})" if self.against else ""
        since = f"since {self.since}" if self.since else ""
        measured = _joined(_joined(self.how, against), since, by=", ")
        return f"{self.mark} {self.name} {self.what}: {measured}"


PAIR = "~"
"""Between the legs of a pair's name."""


def number(value: float | None, digits: int = 4) -> str:
    """A figure short enough to read: 4 significant digits, millions as M."""
    if value is None or is_missing(value):
        return NONE
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return compact(value)
    size = math.floor(math.log10(abs(value)))
    if size < -9:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    decimals = max(0, digits - 1 - size)
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    return f"+{number(value, digits)}" if value is not None and value > 0 else number(value, digits)


def clock(at: str | datetime | None, today: datetime | None = None) -> str:
    """`09:12`, with the day where it is not the day of `today`, and the year where that is another."""
    if at is None:
        return ""
    moment = utc(datetime.fromisoformat(at) if isinstance(at, str) else at)
    if today is not None and moment.date() == utc(today).date():
        return f"{moment:%H:%M}"
    year = f" {moment.year}" if today is not None and moment.year != utc(today).year else ""
    return f"{moment.day} {moment:%b}{year} {moment:%H:%M}"


def spark(values: Sequence[float | None], width: int = 24) -> str:
    """The last `width` values as block characters; a missing one is a blank."""
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(
        " " if value is None or not math.isfinite(value) else _BARS[round((value - low) / step)]
        for value in shown
    )


def alert_line(alert: Facts, site: Site, today: datetime) -> Line:
    """An alert's facts as a line; resolved ones say how long they lasted."""
    evidence = alert.get("evidence") or {}
    column = evidence.get("column") or ""
    is_over = alert["state"] == "resolved"
    against, how = _measured(column, alert, evidence)
    noted = _note(alert, evidence, is_over, against)
    if is_over:  # the figure's place is taken by how long it lasted
        against, how = _joined(how, against, by=", "), _over(alert)
    return Line(
        tone="resolved" if is_over else alert["severity"],
        mark="RESOLVED" if is_over else alert["severity"].upper(),
        name=_legs(alert, evidence) or alert.get("symbol") or alert.get("source") or "?",
        what=_joined(_label(column, alert), alert.get("interval")),
        against=against,
        how=how,
        since=clock(begun(datetime.fromisoformat(alert["started_at"]), alert.get("interval")), today),
        note=_joined(
            _same(alert), _fired(alert, today), noted, "" if is_over else _handled(alert, today), by=" · "
        ),
        link=site.link(f"alerts/{slug(alert['id'])}.html"),
        id=str(alert["id"]),
    )


def first_firing(alerts: Sequence[Facts]) -> str:
    """The id of the first alert that is not over: there is nothing to acknowledge or to silence in the others."""
    return next((str(alert["id"]) for alert in alerts if alert["state"] != "resolved"), "")


def episode_line(episode: Facts, site: Site, today: datetime) -> Line:
    """An episode of anomalies as a line, shown by its worst bar."""
    is_over = episode["state"] == "over"
    against, how = _abnormal(episode)
    ended = f"over since {clock(episode.get('ends') or episode['last'], today)}" if is_over else "still on"
    since = clock(episode.get("since"), today)
    is_moment = episode["since"] == episode["last"] and is_over
    return Line(
        tone=episode["severity"],
        mark=episode["severity"].upper(),
        name=_subject(episode),
        what=" ".join(part for part in (kind_name(episode["kind"]), episode.get("interval")) if part),
        against=against,
        how=how,
        since="" if is_moment else since,
        note=f"{_bars(episode)}, {since}"
        if is_moment
        else f"{_bars(episode)}{_worst_bar(episode, today)}, {ended}",
        spark=spark(episode.get("spark") or ()),
        link=_series_link(episode, site),
    )


def _bars(episode: Facts) -> str:
    """`one bar`, `4 bars`, `2 bars of 1h, also on 15m`; a feed has none, it is told once a while."""
    bars, interval, others = episode.get("bars") or 1, episode.get("interval"), episode.get("others") or ()
    if not interval:
        return "told once" if bars == 1 else f"told {bars} times"
    count = "one bar" if bars == 1 else f"{bars} bars"
    return f"{count} of {interval}, also on {', '.join(others)}" if others else count


def _worst_bar(episode: Facts, today: datetime) -> str:
    is_one = episode["since"] == episode["last"]
    return "" if is_one else f", worst {clock(episode.get('worst_ts'), today)}"


def _subject(episode: Facts) -> str:
    """The symbol, a pair's legs (its name stands as the symbol), or the source of a whole feed."""
    symbol = str(episode.get("symbol") or "")
    if PAIR in symbol:
        return " / ".join(leg.partition("-")[2] or leg for leg in symbol.split(PAIR))
    return symbol or str(episode.get("source") or "?")


def pair_line(pair: Facts, site: Site, today: datetime) -> Line:
    """A stretched pair as a line: how far its spread is from its mean, and how fast it usually comes back."""
    half_life, q = pair.get("half_life_bars"), pair.get("q_bh")
    legs = [Series(pair.get(f"source_{leg}") or "", pair.get(f"symbol_{leg}") or "") for leg in "yx"]
    back = f"half-life {number(half_life, 3)} bars" if half_life is not None else ""
    odds = f"q {number(q, 2)}" if q is not None else ""
    return Line(
        tone="high",
        mark="HIGH" if abs(pair.get("zscore") or 0) > 2 else "INFO",
        name=" / ".join(leg.symbol for leg in legs) if legs[0].symbol else pair["pair"],
        what=_joined("Spread", pair.get("interval")),
        against=_joined(back, odds, by=", "),
        how=f"z {signed(pair.get('zscore'))}",
        since="",
        note=_joined(_correlation(pair), f"fitted {clock(pair.get('fitted_at'), today)}", by=" · "),
        spark=spark(pair.get("spark") or ()),
        link=site.link(f"pairs/{legs[0].slug}~{legs[1].slug}.html"),
    )


def _correlation(pair: Facts) -> str:
    return f"correlation {number(pair.get('corr'), 2)}" if pair.get("corr") is not None else ""


def _joined(*parts: str | None, by: str = " ") -> str:
    return by.join(part for part in parts if part)


def _legs(alert: Facts, evidence: Facts) -> str | None:
    """A pair by the symbols of its legs; its name where the evidence has none."""
    legs = [str(series).partition(":")[2] for series in evidence.get("series") or ()]
    return " / ".join(legs) if alert.get("pair") and len(legs) == 2 else alert.get("pair")


def _label(column: str, alert: Facts) -> str:
    if column == "dev_20_pct":
        return "Price move"
    return WORDS[column].label if column in WORDS else column or str(alert["rule"])


def _measured(column: str, alert: Facts, evidence: Facts) -> tuple[str, str]:
    """(observed against what, how abnormal) of an alert."""
    value, limit = alert.get("value"), alert.get("threshold")
    baseline = evidence.get("baseline") or {}
    if column == "volume_ratio" and baseline:
        return f"{number(baseline['observed'])} vs {number(baseline['value'])} usual", f"{number(value, 2)}×"
    if column == "dev_20_pct":
        against = f"{number(baseline['observed'])} vs mean {number(baseline['value'])}" if baseline else ""
        return against, f"{signed(value)} %"
    unit = WORDS[column].unit if column in WORDS else ""
    sides = (
        "±"
        if str(evidence.get("measured") or "").startswith("abs(")
        else f"{evidence.get('operator') or ''} "
    )
    allowed = f"limit {sides}{number(limit)}{unit}" if limit is not None else ""
    prefix = "z " if "zscore" in column else ""
    return allowed, f"{prefix}{signed(value) if prefix else number(value)}{unit}"


def _abnormal(episode: Facts) -> tuple[str, str]:
    """(observed against what, how abnormal) of an anomaly."""
    kind = episode["kind"]
    value, usual, ratio, z = (episode.get(name) for name in ("value", "baseline", "ratio", "zscore"))
    if kind == "price_spike" and value and usual:
        return f"{number(value)} vs mean {number(usual)}", f"{signed((value / usual - 1) * 100)} %"
    if REFERENCE_OF.get(kind) == "limit":
        unit = f" {UNITS[kind]}" if kind in UNITS else ""
        measured = f"z {signed(value)}" if kind == "spread" else f"{number(value, 3)}{unit}"
        return f"limit {number(usual)}{unit}" if usual else "", measured
    against = f"{number(value)} vs {number(usual)} usual" if usual is not None else number(value)
    if kind == "volume" and ratio is not None:
        return against, f"{number(ratio, 2)}×"
    return against, f"z {signed(z)}" if z is not None else f"{number(ratio, 2)}×" if ratio is not None else ""


def _note(alert: Facts, evidence: Facts, is_over: bool, against: str) -> str:
    ended = evidence.get("reason") if is_over else None
    expression = evidence.get("expression")
    # The limit beside the value says the same as a rule of one comparison.
    plain = f"{evidence.get('measured')} {evidence.get('operator')} {number(alert.get('threshold'))}"
    shown = None if expression == plain and against.startswith("limit") else expression
    return _joined(_worst(alert, evidence), f"rule {alert['rule']}", shown, ended, by=" · ")


def _same(alert: Facts) -> str:
    return f"the same fact as rule {alert['same_as']} tells" if alert.get("same_as") else ""


def _fired(alert: Facts, today: datetime) -> str:
    """When it fired, where that is not when it began: at the close of a bar, or after several."""
    if not alert.get("fired_at") or not alert.get("interval"):
        return ""
    return f"fired {clock(alert['fired_at'], today)}"


def _handled(alert: Facts, today: datetime) -> str:
    """That somebody has seen it, or keeps it quiet and why."""
    if alert.get("silenced_until"):
        return f"silenced until {clock(alert['silenced_until'], today)}: {alert['silenced_why']}"
    return f"acknowledged {clock(alert['acked_at'], today)}" if alert.get("acked_at") else ""


def _worst(alert: Facts, evidence: Facts) -> str:
    """What it rose to after it had fired; nothing where that is what it fired with."""
    worst = alert.get("worst")
    if worst is None or worst == alert["value"]:
        return ""
    column = str(evidence.get("column") or "")
    unit = WORDS[column].unit if column in WORDS else ""
    return f"at worst {signed(worst) if column in _SIGNED else number(worst)}{unit}"


def _over(alert: Facts) -> str:
    begun, ended = alert.get("fired_at") or alert.get("started_at"), alert.get("resolved_at")
    if not begun or not ended:
        return "over"
    return f"over after {duration(datetime.fromisoformat(ended) - datetime.fromisoformat(begun))}"


def _series_link(row: Facts, site: Site) -> str | None:
    if not row.get("symbol"):
        return site.link("quality/index.html")
    if PAIR in row["symbol"]:
        return site.link(f"pairs/{row['symbol']}.html")
    return site.link(f"symbols/{Series(row['source'], row['symbol']).slug}.html")


def of_many(names: Sequence[Any], most: int = 3) -> str:
    """`BTCUSDT, ETHUSDT, NVDA and 4 more`."""
    distinct = list(dict.fromkeys(str(name) for name in names))
    rest = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {rest} more" if rest > 0 else "")
