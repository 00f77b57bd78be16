"""`python -m tests.chaos [--minutes N] [--seed K] [--kills M] [--siege S]`: the platform against the replica, under fire.

Minutes are simulated: the replica's clock is moved by hand. In each, faults strike the requests, runs of the minute
are killed at random moments, the replica too, and the venue corrects bars. S of the kills are a siege: they hit a
real platform's worker, flow run, Prefect server, replica and supervisor in turn. Now and then trades or minutes are
lost for ever. At the end some minutes pass in peace, and the warehouse must equal what the replica holds for true, and
name every hole that truth cannot fill; every page can be made of it. Exit 0 only then.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from flows.context import assemble, writing
from flows.healing import run_heal
from flows.report import run_report
from flows.trading_days import fill_sessions
from pipelines.coverage import GRACE
from pipelines.settings import load
from reports.shelf import UnmadeError
from tests.chaos import faults
from tests.chaos.compare import differences
from tests.chaos.processes import CollectorProcess, ReplicaProcess, Runner
from tests.chaos.siege import Siege

NOW = datetime(2026, 3, 10, 15, 0, 20, tzinfo=UTC)
"""A Tuesday, an hour and a half after the bell, two days after summer time began."""
SYMBOLS = {
    "binance": ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"),
    "yahoo": ("AAPL", "MSFT", "SPY"),
    "coinbase": ("BTC-USDT",),
    "kraken": ("XBTUSDT",),
}
MARKET = {"BTC-USDT": "BTCUSDT", "XBTUSDT": "BTCUSDT"}
"""Other names of a market: the replica has one tape for all venues."""
STREAMED = ("binance", "coinbase", "kraken")
HOLES = 0.15
"""Chance of a hole that stays, in each minute."""
CHORES = {"heal": 0.1, "maintain": 0.03}
"""Chance of a run of each beside the minute's; the hourly upkeep comes more often, as much happens here."""
REPLICA_SHARE = COLLECTOR_SHARE = 0.12
"""Part of the kills that hit the replica, and the collector."""
PEACE = 12


class Chaos:
    """One game: a folder, a replica, a runner, and the dice."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.revisions: dict[tuple[str, str, int], faults.Spec] = {}
        self.holes: list[faults.Spec] = []
        self.replica = ReplicaProcess(folder, NOW.isoformat(), seed)
        self.folder, self.config = folder, folder / "tapewatch.toml"
        self.config.write_text(_toml(folder, self.replica.url))
        self.context = assemble(load(self.config, {}))
        with writing(self.context) as con:
            fill_sessions(con, self.context, "XNYS", date(2026, 3, 10), date(2026, 3, 10))
        self.runner = Runner(self.config, folder / "runner.log")
        data = self.context.settings.data_dir
        self.collector = CollectorProcess(self.config, data, folder / "collector.log")

    def play(self, minutes: int, kills: int, siege: int = 0) -> list[str]:
        """The minutes, with so many kills spread over them, then the siege; what is wrong afterwards."""
        self.run()
        for minute in range(minutes):
            self.pass_minute()
            self.trouble()
            for _ in range(kills * (minute + 1) // minutes - kills * minute // minutes):
                self.kill_something()
            self.run()
        stuck = self.besiege(siege) if siege else []
        self.settle()
        with writing(self.context) as con:
            run_heal(self.context, con, "the-end", give_up_after=timedelta(0))
            found = differences(con, self.context, self.replica, self.runner.acknowledged, self.never())
            return stuck + found + self.unmade(con)

    def unmade(self, con: duckdb.DuckDBPyConnection) -> list[str]:
        """What of the site cannot be made of all this."""
        try:
            run_report(self.context, con, "the-end")
        except UnmadeError as error:
            return [str(error)]
        return []

    def besiege(self, kills: int) -> list[str]:
        """A minute for each kill of a process of the whole platform; what did not come back."""
        self.collector.kill()
        siege = Siege(self.folder, self.config, self.replica, self.dice)
        try:
            for number in range(kills):
                self.pass_minute()
                self.trouble()
                siege.minute(number)
            return siege.end()
        finally:
            siege.stop()
            self.kills += siege.kills
            self.runs += siege.outcomes
            self.collector.start()

    def run(self) -> None:
        self.runs["completed" if self.runner.run() == 0 else "failed"] += 1

    def pass_minute(self) -> None:
        """The market's clock, the pauses that venues asked for and the age of what has landed go on by a minute."""
        self.replica.heal()
        for spec in self.holes:
            if spec["kind"] == "missing_minutes":
                self.replica.tell("faults", spec)
        self.replica.advance(60)
        for landed in self.context.landing.rglob("*"):
            with suppress(FileNotFoundError):  # a platform under siege moves them meanwhile
                was = landed.stat().st_mtime - 60
                os.utime(landed, (was, was))
        for path in (self.context.settings.data_dir / "sources").glob("*.json"):
            state = json.loads(path.read_bytes())
            if state["open_until"]:
                until = datetime.fromisoformat(state["open_until"]) - timedelta(minutes=1)
                path.write_text(json.dumps({**state, "open_until": until.isoformat()}))

    def trouble(self) -> None:
        """This minute's faults, and sometimes a correction."""
        for spec in faults.draw(self.dice):
            self.replica.tell("faults", spec)
            self.faults[spec["kind"]] += 1
        if self.dice.random() < 0.4:
            self.revise()
        if self.dice.random() < HOLES:
            self.lose()
        for chore, chance in CHORES.items():
            if self.dice.random() < chance:
                self.runs[f"{chore}: {'completed' if self.runner.run(what=chore) == 0 else 'failed'}"] += 1

    def lose(self) -> None:
        """Something of the coming minutes is never given by anybody, after a restart neither."""
        minute = int(datetime.fromisoformat(self.replica.now).timestamp()) // 60 * 60 + 60
        spec = faults.hole(self.dice, SYMBOLS, minute)
        self.holes.append(spec)
        self.replica.tell("faults", spec)
        self.remember()
        self.faults[spec["kind"]] += 1

    def never(self) -> dict[tuple[str, str], set[int]]:
        """Venue and symbol -> the minutes that nobody gives."""
        found: dict[tuple[str, str], set[int]] = {}
        for spec in self.holes:
            if spec["kind"] == "missing_minutes":
                found.setdefault((spec["venue"], spec["symbol"]), set()).update(
                    range(spec["from"], spec["to"], 60)
                )
        return found

    def remember(self) -> None:
        """What a replica that starts anew has to know."""
        self.replica.script.write_text(json.dumps([*self.revisions.values(), *self.holes]))

    def revise(self) -> None:
        """A correction; the replica will know it after a restart as well, as a venue would."""
        venue = self.dice.choice(list(SYMBOLS))
        symbol = self.dice.choice(SYMBOLS[venue])
        minute = int(datetime.fromisoformat(self.replica.now).timestamp()) // 60 * 60
        ts = minute - 60 * self.dice.randint(1, 3)
        of_all_names = [
            held
            for (_, other), held in self.never().items()
            if MARKET.get(other, other) == MARKET.get(symbol, symbol)
        ]
        if any(ts in held for held in of_all_names):
            return  # whom a minute is kept from cannot know of its correction, whichever venue tells it
        said = self.replica.ask("truth", venue=venue, symbol=symbol, **{"from": ts, "to": ts + 60})
        bar = dict(zip(said["columns"], said["rows"][0], strict=True))
        spec = {
            "kind": "revise",
            "venue": venue,
            "symbol": symbol,
            "ts": ts,
            "set": faults.corrected(self.dice, bar),
        }
        self.replica.tell("faults", spec)
        self.revisions[venue, symbol, ts] = spec
        self.remember()
        self.faults["revise"] += 1

    def kill_something(self) -> None:
        """Kills a run at a random moment of its life, now and then the replica beside it or the collector."""
        chance = self.dice.random()
        if chance > 1 - COLLECTOR_SHARE:
            self.collector.kill()
            self.collector.start()
            self.kills["collector"] += 1
            return
        if chance < REPLICA_SHARE:
            timer = threading.Timer(self.dice.random() * self.runner.run_s / 2, self.replica.kill)
            timer.start()
            self.run()
            timer.join()
            self.replica.start()
            self.kills["replica"] += 1
            return
        what = self.dice.choices(("run", *CHORES), (1 - sum(CHORES.values()), *CHORES.values()))[0]
        while self.runner.run(self.dice.random() * self.runner.run_s, what) >= 0:
            self.runs["finished before the kill"] += 1
        self.kills[what] += 1

    def settle(self) -> None:
        """Minutes without trouble until every source has caught up and every hole may be called one, and one more."""
        holes = [spec["to"] for spec in self.holes if spec["kind"] == "missing_minutes"]
        told = max(holes, default=0) + GRACE.total_seconds()
        for _ in range(PEACE):
            self.pass_minute()
            self.run()
            is_well = all(part.endswith("=ok") for part in self.runner.state.split(","))
            if is_well and datetime.fromisoformat(self.replica.now).timestamp() >= told:
                break
        self.collector.wait_until_connected()
        before = self.collector.frames() or 0
        self.pass_minute()
        self.collector.wait_until_heard(more_than=before)
        self.collector.stop()
        self.run()
        self.run()

    def stop(self) -> None:
        self.runner.stop()
        self.collector.kill()
        self.replica.kill()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Faults and kills against the replica."
    )
    parser.add_argument("--minutes", type=int, default=10, help="simulated minutes (10)")
    parser.add_argument("--seed", type=int, default=1, help="of market, faults and kills (1)")
    parser.add_argument("--kills", type=int, help="processes killed (two a minute)")
    parser.add_argument("--siege", type=int, help="kills that hit a real platform (a quarter)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave everything there")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tapewatch-chaos-") as folder:
        home = args.keep or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        kills = 2 * args.minutes if args.kills is None else args.kills
        siege = min(kills // 4 if args.siege is None else args.siege, kills)
        return play(home, args.minutes, args.seed, kills - siege, siege)


def play(folder: Path, minutes: int, seed: int, kills: int, siege: int) -> int:
    """One game; 0 if nothing is wrong at its end."""
    started = time.monotonic()
    chaos = Chaos(folder, seed)
    try:
        wrong = chaos.play(minutes, kills, siege)
    finally:
        chaos.stop()
    for line in wrong[:40]:
        print(line)
    print(f"runs: {_told(chaos.runs)}; faults: {_told(chaos.faults)}; kills: {_told(chaos.kills)}")
    print(
        f"{minutes + siege} minutes in {time.monotonic() - started:.0f} s: seed {seed}, {chaos.faults.total()} faults, "
        f"{chaos.kills.total()} kills, {len(wrong)} differences"
    )
    return 1 if wrong else 0


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"


def _toml(folder: Path, url: str) -> str:
    text: list[Any] = [
        f"data_dir = {json.dumps(str(folder / 'data'))}",
        f"site_dir = {json.dumps(str(folder / 'site'))}",
    ]
    for name, symbols in SYMBOLS.items():
        text += ["", "[[source]]", f"name = {json.dumps(name)}", f"symbols = {json.dumps(symbols)}",
                 f"base_url = {json.dumps(url)}", 'timeout = "1s"', 'history = "1h"']  # fmt: skip
        text += ['calendar = "XNYS"'] if name == "yahoo" else []
        text += ["stream = true", "rate_limit = 6000"] if name in STREAMED else []
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    sys.exit(main())
