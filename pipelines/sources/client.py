"""Asking a venue many things at once: a few worker loops, each with one kept-alive connection of its own.

One pool shared by all requests costs httpx six times the CPU of clients with one connection each. Every
`get_all` runs its own event loop, so callers stay plain functions.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

import httpx

from pipelines.sources.base import Clock, Failure, FetchResult, Reply, SourceOptions, utc_now
from pipelines.sources.budget import Breaker, WeightBudget
from pipelines.sources.refusals import error_of, is_transient, pause_s, stops, unasked_reason
from pipelines.sources.venue import Call, Venue, connect, read_reply

BACKOFF_S = 0.25


class VenueClient:
    """Asks one venue within its limits; `transport` stands in for the network in tests."""

    def __init__(
        self,
        venue: Venue,
        options: SourceOptions,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.venue = venue
        self.options = options
        self.transport = transport
        self.clock = clock
        self.budget = WeightBudget(options.weight_limit or venue.weight_limit, options.weight_share)
        self.breaker = Breaker()

    def get_all(self, calls: Sequence[Call], total_s: float | None = None) -> FetchResult:
        """A reply or a failure for each call, in their order; never raises for what the venue does.

        Takes at most `total_s` seconds, by default the options'; calls not made by then fail with
        `time_budget`.
        """
        breaker = self._load_breaker()
        state = breaker.state(self.clock())
        if state == "open":
            return FetchResult([], [self._not_asked(call, breaker) for call in calls])
        round_ = _Round(self, calls, self.options.total_s if total_s is None else total_s)
        _complete(round_.run(probe_first=state == "half-open"))
        self._remember(breaker, round_)
        return round_.result()

    def get(self, call: Call) -> Reply:
        """One reply of any status; raises SourceError where there is none."""
        replies, failures = self.get_all([call])
        if failures:
            raise error_of(failures[0])
        return replies[0]

    def _load_breaker(self) -> Breaker:
        return Breaker.load(self.options.state_path) if self.options.state_path else self.breaker

    def _remember(self, before: Breaker, round_: _Round) -> None:
        """Saves the breaker where it changed; good news never overwrites another process's pause."""
        after = round_.breaker_after(before, self.clock())
        if after == before or (after == Breaker() and self._load_breaker() != before):
            return
        self.breaker = after
        with suppress(OSError):  # a full disk is reported by the landing zone, which comes next
            after.save(self.options.state_path)

    def _not_asked(self, call: Call, breaker: Breaker) -> Failure:
        wait = breaker.wait_s(self.clock())
        detail = f"{self.venue.name} {call.symbol}: not asked for another {wait:.0f} s: {breaker.reason}"
        return Failure(call.symbol, "circuit_open", detail, wait)


def _complete(work: Coroutine[Any, Any, None]) -> None:
    """Runs the coroutine to its end, in a thread of its own where this one has a loop already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(max_workers=1) as aside:
        aside.submit(asyncio.run, work).result()


class _Round:
    """One `get_all` under way."""

    def __init__(self, client: VenueClient, calls: Sequence[Call], total_s: float) -> None:
        self.client = client
        self.total_s = total_s
        self.calls = calls
        self.outcomes: list[Reply | Failure | None] = [None] * len(calls)
        self.waiting = deque(range(len(calls)))
        self.stop_reply: Reply | None = None
        self.probe_failed = False
        self.deadline = 0.0

    async def run(self, probe_first: bool) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_Impatient())
        self.deadline = loop.time() + self.total_s
        with suppress(TimeoutError):
            async with asyncio.timeout(self.total_s + 1):
                if probe_first:
                    await self._work(limit=1)
                    self.probe_failed = not any(_is_answer(outcome) for outcome in self.outcomes)
                if not self.probe_failed:
                    await self._work_together()

    def result(self) -> FetchResult:
        outcomes = [
            outcome or self._unasked(call) for outcome, call in zip(self.outcomes, self.calls, strict=True)
        ]
        return FetchResult(
            [outcome for outcome in outcomes if isinstance(outcome, Reply)],
            [outcome for outcome in outcomes if isinstance(outcome, Failure)],
        )

    def breaker_after(self, breaker: Breaker, now: datetime) -> Breaker:
        if self.stop_reply:
            reason = f"HTTP {self.stop_reply.status} {' '.join(self.stop_reply.text.split())[:200]}"
            return breaker.paused(now, pause_s(self.stop_reply), reason)
        if any(_is_answer(outcome) for outcome in self.outcomes):
            return breaker.answered()
        for outcome in self.outcomes:
            if isinstance(outcome, Reply):
                return breaker.unanswered(now, f"HTTP {outcome.status}")
            if outcome and outcome.reason in ("timeout", "connection"):
                return breaker.unanswered(now, outcome.detail)
        return breaker

    async def _work_together(self) -> None:
        workers = min(self.client.options.connections or self.client.venue.connections, len(self.waiting))
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(limit=len(self.calls)))

    async def _work(self, limit: int) -> None:
        client = self.client
        async with connect(client.venue, client.options, client.transport) as connection:
            for _ in range(limit):
                if not self.waiting or self.stop_reply or self._remaining() <= 0:
                    return
                index = self.waiting.popleft()
                self.outcomes[index] = await self._ask(connection, self.calls[index])

    async def _ask(self, connection: httpx.AsyncClient, call: Call) -> Reply | Failure | None:
        """The last outcome of up to `attempts` tries; None if there was no time for even one."""
        outcome: Reply | Failure | None = None
        for attempt in range(self.client.options.attempts):
            if not await self._pause_before(attempt):
                break
            outcome = await self._within_budget(connection, call, attempt)
            if isinstance(outcome, Reply) and stops(outcome):
                self.stop_reply = outcome
            if isinstance(outcome, Reply) and not is_transient(outcome.status):
                break
            if self.stop_reply or (isinstance(outcome, Failure) and outcome.reason == "rate_budget"):
                break
        return outcome

    async def _pause_before(self, attempt: int) -> bool:
        """Backoff that doubles, half of it random; False if the time left is shorter."""
        pause = BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0) if attempt else 0.0
        pause += random.uniform(0.0, self.client.venue.jitter_s)
        if pause >= self._remaining():
            return False
        if pause:
            await asyncio.sleep(pause)
        return True

    async def _within_budget(
        self, connection: httpx.AsyncClient, call: Call, attempt: int
    ) -> Reply | Failure | None:
        budget, clock = self.client.budget, self.client.clock
        while wait := budget.reserve(call.weight, clock()):
            if wait >= self._remaining():
                who = f"{self.client.venue.name} {call.symbol}"
                detail = f"{who}: {budget.ceiling} request weight of this minute used"
                return Failure(call.symbol, "rate_budget", detail, wait)
            await asyncio.sleep(wait)
        headers = httpx.Headers()
        try:
            outcome, headers = await self._once(connection, call, attempt)
            return outcome
        finally:
            budget.settle(call.weight, headers, clock())

    async def _once(
        self, connection: httpx.AsyncClient, call: Call, attempt: int
    ) -> tuple[Reply | Failure, httpx.Headers]:
        venue, loop = self.client.venue, asyncio.get_running_loop()
        host = venue.hosts[attempt % len(venue.hosts)]
        timeout, started = min(self.client.options.timeout_s, self._remaining()), loop.time()
        try:
            async with asyncio.timeout(timeout):
                response = await connection.get(host + call.path, params={**call.params, **venue.secret})
        except (TimeoutError, httpx.TimeoutException):
            detail = f"{venue.name} {call.symbol}: no answer from {host} within {timeout:.1f} s"
            return Failure(call.symbol, "timeout", detail), httpx.Headers()
        except httpx.HTTPError as error:
            detail = f"{venue.name} {call.symbol}: {host}: {str(error) or type(error).__name__}"
            return Failure(call.symbol, "connection", detail), httpx.Headers()
        latency_ms = round((loop.time() - started) * 1000, 3)
        return read_reply(venue, call, response, latency_ms, self.client.clock()), response.headers

    def _unasked(self, call: Call) -> Failure:
        who = f"{self.client.venue.name} {call.symbol}"
        if self.stop_reply:
            reason = unasked_reason(self.stop_reply)
            detail = f"{who}: not asked after HTTP {self.stop_reply.status} to {self.stop_reply.symbol}"
            return Failure(call.symbol, reason, detail, pause_s(self.stop_reply), reason == "rate_limited")
        if self.probe_failed:
            return Failure(call.symbol, "circuit_open", f"{who}: not asked, the venue still does not answer")
        return Failure(
            call.symbol,
            "time_budget",
            f"{who}: no time left of the {self.total_s:g} s for a fetch",
        )

    def _remaining(self) -> float:
        return self.deadline - asyncio.get_running_loop().time()


class _Impatient(ThreadPoolExecutor):
    """Where names are looked up; a resolver that hangs must not hold up the end of a fetch."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


def _is_answer(outcome: Reply | Failure | None) -> bool:
    return isinstance(outcome, Reply) and not is_transient(outcome.status) and not stops(outcome)
