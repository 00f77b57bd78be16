"""Every command with the one line `tapewatch --help` shows and the module that is loaded to run it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from cyclopts import App

from flows.cli.call import EPILOGUE

COMMANDS = {
    "demo": ("flows.cli.demo:demo", "The whole platform on a simulated market: no network, no keys."),
    "up": ("flows.cli.up:up", "The whole platform on live data, in the foreground."),
    "down": ("flows.cli.up:down", "Stop the platform that runs on this data folder."),
    "status": ("flows.cli.status:status", "What runs, how far behind it is, and the last runs."),
    "start": ("flows.cli.collect:start", "Collect again after `stop`."),
    "stop": ("flows.cli.collect:stop", "Collect nothing until `start`; everything else goes on."),
    "collect": ("flows.cli.collect:collect", "The websocket collector alone, in the foreground."),
    "run": (
        "flows.cli.run:run",
        "One run here and now: minute, daily, report, digest, maintenance.",
    ),
    "backfill": ("flows.cli.backfill:backfill", "Bring history from a source, resumable."),
    "import": ("flows.cli.import_:import_", "Load bars or trades from a CSV, Parquet or Binance bulk file."),
    "export": ("flows.cli.export:export", "Write a public view to CSV, Parquet or JSON."),
    "sql": ("flows.cli.sql:sql", "Read-only SQL on the warehouse while everything runs."),
    "report": ("flows.cli.report:report", "Render the site now."),
    "doctor": ("flows.cli.doctor:doctor", "Check everything; each line says how to mend."),
    "site": ("flows.cli.site:site", "Serve the site on loopback."),
    "replica": ("flows.cli.replica:replica", "The exchange replica alone, on loopback."),
    "pair": ("flows.cli.pair:pair", "Every statistic of one pair."),
    "explain": ("flows.cli.explain:explain", "Recompute an alert or anomaly from stored rows."),
}
GROUPS = {
    "config": (
        "Check, show or start the configuration.",
        {
            "check": ("flows.cli.config_check:check", "All problems at once, with file and line."),
            "show": ("flows.cli.config:show", "Every setting and where it comes from."),
            "init": ("flows.cli.config:init", "Write a commented starter file."),
        },
    ),
    "sources": (
        "The venues that can be watched.",
        {"list": ("flows.cli.sources:list_", "Adapters, keys they need, state, rate budget.")},
    ),
    "alerts": (
        "Rules, alerts, silences and messages.",
        {
            "rules": ("flows.cli.alert_rules:rules", "Every rule in force."),
            "add": ("flows.cli.alert_rules:add", "Add a rule; it ends after 7 days unless told otherwise."),
            "rm": ("flows.cli.alert_rules:rm", "Remove a rule made by `alerts add`."),
            "list": ("flows.cli.alerts:list_", "Alerts, the newest first."),
            "ack": ("flows.cli.alerts:ack", "Acknowledge an alert."),
            "silence": (
                "flows.cli.alert_silences:silence",
                "Keep matching alerts quiet for a while, with a reason.",
            ),
            "silences": ("flows.cli.alert_silences:silences", "What is kept quiet, until when, and why."),
            "unsilence": ("flows.cli.alert_silences:unsilence", "End a silence before its time."),
            "resend": ("flows.cli.alerts:resend", "Send a dead message again."),
            "preview": ("flows.cli.alert_rules:preview", "When a rule would have fired."),
        },
    ),
}


def make_app(tokens: Sequence[str]) -> App:
    """The command line with all commands, none of their modules loaded.

    The command that `tokens` name is given without its line, so that its own docstring is its help.
    """
    app = App(
        name="tapewatch",
        help="Market data, one minute at a time: to a DuckDB warehouse, a static site and alert digests.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=installed_version,
    )
    for name, (target, text) in COMMANDS.items():
        app.command(target, name=name, help=text if [name] != list(tokens[:1]) else None)
    for name, (text, commands) in GROUPS.items():
        group = App(name=name, help=text)
        for inner, (target, line) in commands.items():
            group.command(target, name=inner, help=line if [name, inner] != list(tokens[:2]) else None)
        app.command(group)
    return app


def installed_version() -> str:
    """The version of the installed package."""
    try:
        return version("tapewatch")
    except PackageNotFoundError:
        return "0 (not installed)"
