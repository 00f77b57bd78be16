"""The control endpoint: clock, faults, labels, and the truth a test holds the warehouse against.

Times go in as ISO 8601 or epoch (s, ms, us) and come out as epoch seconds; ranges are half-open.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import orjson

from pipelines.replica import shocks
from pipelines.replica.clock import Clock
from pipelines.replica.columns import COLUMNS
from pipelines.replica.errors import ReplicaError
from pipelines.replica.faults import TAPE, Fault, Faults, length
from pipelines.replica.instruments import Instrument
from pipelines.replica.truth import MINUTE_S, Book, Revision, revised_values
from pipelines.replica.walk import generator
from pipelines.replica.wire import Reply, Request, instant, reply_json

PREFIX = "/control/"
DAY_S = 86400


class Control:
    """Answers `/control/...`; `traffic` is the server's own count of requests."""

    def __init__(
        self,
        book: Book,
        clock: Clock,
        faults: Faults,
        venues: list[str],
        traffic: Callable[[], dict[str, Any]],
    ) -> None:
        self.book, self.clock, self.faults, self.venues, self.traffic = book, clock, faults, venues, traffic
        self.latency_s = 0.0
        self._happen = {"revise": self._revise, "shock": self._shock, "lost_trades": self._lose}
        self._routes: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "clock"): lambda request: self.clock_now(),
            ("POST", "clock"): self._set_clock,
            ("GET", "faults"): lambda request: self.fault_report(),
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): self._remove_faults,
            ("GET", "labels"): self._labels,
            ("GET", "truth"): self._truth,
            ("GET", "trades"): self._trades,
            ("GET", "served"): lambda request: {"series": book.served_report()},
            ("GET", "requests"): lambda request: traffic(),
            ("GET", "symbols"): self._symbols,
            ("POST", "latency"): self._set_latency,
        }

    def answer(self, request: Request) -> Reply:
        route = self._routes.get((request.method, request.path.removeprefix(PREFIX).rstrip("/")))
        if route is None:
            ways = sorted(f"{method} {PREFIX}{name}" for method, name in self._routes)
            return reply_json({"error": f"no {request.method} {request.path}", "ways": ways}, 404)
        try:
            return reply_json(route(request))
        except (ReplicaError, ValueError, KeyError, TypeError) as error:
            return reply_json({"error": f"{request.path}: {error}"}, 400)

    def apply_due(self, now: float) -> None:
        """Let the faults of the tape itself happen whose time has come; ReplicaError for one that cannot, after the rest."""
        wrong: list[ReplicaError] = []
        for fault in self.faults.due(now):
            try:
                self._happen[fault.kind](fault, now)
            except ReplicaError as error:
                wrong.append(error)
            except (ValueError, TypeError, KeyError) as error:
                wrong.append(ReplicaError(f"{fault.kind}: {error}"))
        if wrong:
            raise wrong[0]

    def catch_up(self, now: float) -> None:
        """The same where nobody waits for the error: it goes into the log of the faults."""
        try:
            self.apply_due(now)
        except ReplicaError as error:
            self.faults.log.append({"at": now, "error": str(error)})

    def clock_now(self) -> dict[str, Any]:
        now = self.clock.now()
        return {"now": now, "iso": datetime.fromtimestamp(now, UTC).isoformat(), "speed": self.clock.speed}

    def fault_report(self) -> dict[str, Any]:
        return {"faults": [one.as_dict() for one in self.faults.all()], "log": list(self.faults.log)}

    def truth(self, venue: str, symbol: str, start_s: float, end_s: float) -> dict[str, Any]:
        """Every closed bar of the series in the range as it is true now, with its revision (1 = first)."""
        inst = self._instrument(venue, symbol)
        now = self.clock.now()
        self.apply_due(now)
        bars = self.book.closed(inst, start_s, end_s, now)
        revised = self.book.revisions(inst)
        rows = [[*row.values(), 1 + revised.get(row["ts"], 0)] for row in bars.rows()]
        return {"venue": venue, "symbol": symbol, "now": now, "columns": [*COLUMNS, "revision"], "rows": rows}

    def trades(self, venue: str, symbol: str, start_s: float, end_s: float) -> dict[str, Any]:
        """Every aggregated trade of the series with start_s <= time < end_s that has happened; `lost`: nobody gives it."""
        inst = self._instrument(venue, symbol)
        self.apply_due(self.clock.now())
        found = self.book.happened(inst, start_s // MINUTE_S * MINUTE_S, end_s, self.clock.now())
        found = found.take((found.time_ms >= start_s * 1000) & (found.time_ms < end_s * 1000))
        columns = ("id", "price", "qty", "first", "last", "time_ms", "buyer_is_maker")
        lost = self.book.is_lost(inst, found).tolist()
        rows = list(zip(*(getattr(found, name).tolist() for name in columns), lost, strict=True))
        return {"venue": venue, "symbol": symbol, "columns": [*columns, "lost"], "rows": rows}

    def labels(self, start_s: float, end_s: float) -> dict[str, Any]:
        """Every labelled shock of the listed symbols that touches the range."""
        insts = {inst.symbol: inst for venue in self.venues for inst in self._listed(venue)}
        found = self.book.market.labels(list(insts.values()), start_s, end_s)
        return {"labels": [one.as_dict() for one in found]}

    def _listed(self, venue: str) -> list[Instrument]:
        found = (self.book.find(venue, symbol) for symbol in self.book.symbols(venue))
        return [inst for inst in found if inst]

    def _set_clock(self, request: Request) -> dict[str, Any]:
        value = _object(request)
        speed = value.get("speed")
        now = None if value.get("now") is None else instant(str(value["now"]))
        self.clock.set(now, None if speed is None else float(speed))
        if value.get("advance") is not None:
            self.clock.advance(length(value["advance"]))
        return self.clock_now()

    def _add_faults(self, request: Request) -> dict[str, Any]:
        value = orjson.loads(request.body or b"{}")
        specs = value if isinstance(value, list) else [value]
        now = self.clock.now()
        self.catch_up(now)
        added: list[Fault] = []
        try:
            for spec in specs:
                added.append(self.faults.add(spec, now))
                self._check(added[-1], now)
            self.apply_due(now)
        except (ReplicaError, ValueError, TypeError, KeyError):
            # What was refused is not there: a list of faults stands as a whole or not at all.
            for fault in added:
                self.faults.remove(fault.id)
            raise
        return {"faults": [fault.as_dict() for fault in added]}

    def _check(self, fault: Fault, now: float) -> None:
        """Raises ReplicaError or ValueError for a fault of the tape that could not happen when its time comes."""
        if fault.kind in TAPE:
            self._everywhere(fault)
        if fault.kind == "shock":
            self._shocks(fault, now)

    def _remove_faults(self, request: Request) -> dict[str, Any]:
        # What was due has happened, whether anybody had asked since or not: a correction is not taken back.
        self.catch_up(self.clock.now())
        number = dict(request.params).get("id")
        return {"removed": self.faults.remove(None if number is None else int(number))}

    def _labels(self, request: Request) -> dict[str, Any]:
        return self.labels(*self._range(dict(request.params)))

    def _truth(self, request: Request) -> dict[str, Any]:
        params = dict(request.params)
        return self.truth(params["venue"], params["symbol"], *self._range(params))

    def _trades(self, request: Request) -> dict[str, Any]:
        params = dict(request.params)
        return self.trades(params["venue"], params["symbol"], *self._range(params))

    def _symbols(self, request: Request) -> dict[str, Any]:
        return {venue: self.book.symbols(venue) for venue in self.venues}

    def _set_latency(self, request: Request) -> dict[str, Any]:
        self.latency_s = float(_object(request)["seconds"])
        return {"seconds": self.latency_s}

    def _range(self, params: dict[str, str]) -> tuple[float, float]:
        """`from` and `to`; the last day by default."""
        end = instant(params["to"]) if params.get("to") else self.clock.now()
        return instant(params["from"]) if params.get("from") else end - DAY_S, end

    def _instrument(self, venue: str, symbol: str) -> Instrument:
        inst = self.book.find(venue, symbol)
        if inst is None:
            raise ReplicaError(f"{venue} lists no {symbol!r}; GET {PREFIX}symbols says what there is")
        return inst

    def _everywhere(self, fault: Fault) -> list[Instrument]:
        """The instruments a tape fault is about, by its globs of venue and symbol; "*" must be meant, and so be written."""
        venues = [venue for venue in self.venues if fnmatchcase(venue, fault.venue)]
        if not venues:
            raise ReplicaError(
                f"{fault.kind}: no venue is called {fault.venue!r}; there are {', '.join(self.venues)}"
            )
        found = [inst for venue in venues for inst in self._named(venue, fault.symbol)]
        if not found:
            where = venues[0] if len(venues) == 1 else f"none of {', '.join(venues)}"
            raise ReplicaError(
                f"{fault.kind}: {where} lists {'no ' if len(venues) == 1 else ''}{fault.symbol!r}; "
                f"GET {PREFIX}symbols says what there is"
            )
        return list({inst.symbol: inst for inst in found}.values())

    def _named(self, venue: str, pattern: str) -> list[Instrument]:
        """The venue's instruments that a glob names; a plain name may be one that it does not list."""
        if not set(pattern) & set("*?["):
            inst = self.book.find(venue, pattern)
            return [inst] if inst else []
        return [
            inst
            for symbol in self.book.symbols(venue)
            if fnmatchcase(symbol, pattern) and (inst := self.book.find(venue, symbol))
        ]

    def _revise(self, fault: Fault, now: float) -> None:
        """`factor`: {column: multiple}, `set`: {column: value}; `ts`: the bar, by default the last closed."""
        ts = fault.params.get("ts")
        minute = now // MINUTE_S * MINUTE_S - MINUTE_S if ts is None else instant(str(ts))
        factors = fault.params.get("factor", {} if "set" in fault.params else {"volume": 1.5})
        found = [
            (inst, self.book.closed(inst, minute, minute + MINUTE_S, now)) for inst in self._everywhere(fault)
        ]
        if not any(len(bars) for _, bars in found):
            raise ReplicaError(f"revise: {fault.symbol} has no closed bar at {minute:.0f}")
        for inst, bars in found:
            if not len(bars):
                continue
            values = revised_values(bars, factors, fault.params.get("set", {}))
            self.book.revise(inst, Revision(int(bars.ts[0]), now, values))

    def _lose(self, fault: Fault, now: float) -> None:
        start, end = (
            instant(str(fault.params.get(name, usual))) for name, usual in (("from", 0), ("to", 4e9))
        )
        for inst in self._everywhere(fault):
            self.book.lose_trades(inst, start, end)

    def _shock(self, fault: Fault, now: float) -> None:
        for one in self._shocks(fault, now):
            self.book.inject(one)

    def _shocks(self, fault: Fault, now: float) -> list[shocks.Shock]:
        """`shock`: volume, jump, volatility or frozen; begins with the first minute not yet begun."""
        found = []
        kind = fault.params.get("shock", "volume")
        if kind not in shocks.KINDS:
            raise ReplicaError(f"unknown shock {kind!r}; one of {', '.join(shocks.KINDS)}")
        minutes, size = (_number_of(fault, name) for name in ("minutes", "size"))
        start = int(-(-max(fault.at, now) // MINUTE_S)) * MINUTE_S
        for inst in self._everywhere(fault):
            rng = generator(fault.id, "injected", inst.symbol, start)
            usual = shocks.shock(rng, inst.symbol, kind, start, str(fault.params.get("label", kind)))
            end = usual.end_s if minutes is None else start + MINUTE_S * int(np.ceil(minutes))
            much = usual.size if size is None else size
            found.append(shocks.Shock(inst.symbol, kind, start, end, much, usual.label, True))
        return found


def _number_of(fault: Fault, name: str) -> float | None:
    value = fault.params.get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise ReplicaError(f"{fault.kind}: {name} = {value!r} is no number") from None


def _object(request: Request) -> dict[str, Any]:
    value = orjson.loads(request.body or b"{}")
    if not isinstance(value, dict):
        raise ReplicaError("expected a JSON object")
    return value
