"""The base of every error that a user can act on; lowest floor, so that all floors share it."""

from __future__ import annotations


class TapewatchError(Exception):
    """Something a user can mend; the message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(TapewatchError):
    """What was typed cannot be understood. Exit code 2."""

    exit_code = 2


class WarehouseError(TapewatchError):
    """The warehouse cannot do what was asked."""
