"""What a user of the replica can mend."""

from __future__ import annotations

from warehouse.errors import TapewatchError


class ReplicaError(TapewatchError):
    """The replica cannot start or a fault cannot be understood."""
