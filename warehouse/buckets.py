"""Which minute of the session a bar is compared with: SQL that all baselines share.

A bar's bucket is the minute since its session's open, of the UTC day where trading never stops. The last half hour of
a session that closes early trades like any last half hour: there the bucket is counted back from the usual close, so
that a half day's close is compared with closes and not with the other days' noon. `pipelines.recent.places` has the
same for the minute at hand.
"""

from __future__ import annotations

CLOSING = 30
"""Minutes before an early close that are counted from it."""
SLOT = 30
"""Minutes of the session whose bars together stand in for a bucket that has too few sessions."""


def with_closing(sessions: str) -> str:
    """`sessions` (calendar, open_ts, close_ts, minutes, is_early_close) as open_ts, close_ts, closing_ts and counted_from.

    From closing_ts on a bar's bucket is the minutes since counted_from; both are null where the close is the usual one.
    The usual length is that of most sessions of the calendar that are stored.
    """
    return f"""(
        SELECT calendar, open_ts, close_ts,
               CASE WHEN is_short THEN greatest(close_ts - INTERVAL {CLOSING} MINUTE, open_ts) END AS closing_ts,
               CASE WHEN is_short THEN close_ts - to_minutes(usual) END AS counted_from
        FROM (
            SELECT *, is_early_close AND minutes < usual AS is_short
            FROM (SELECT *, (mode(minutes) OVER (PARTITION BY calendar))::BIGINT AS usual FROM {sessions})
        )
    )"""


def counted_from(ts: str, session: str = "s") -> str:
    """The moment from which the bucket of a bar that opens at `ts` is counted; `session`: its row of `with_closing`."""
    return (
        f"CASE WHEN {ts} < {session}.close_ts AND {ts} >= {session}.closing_ts THEN {session}.counted_from "
        f"WHEN {ts} < {session}.close_ts THEN {session}.open_ts ELSE date_trunc('day', {ts}) END"
    )
