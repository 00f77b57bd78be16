"""The warehouse's fixtures, for flows that work on a real lake."""

from tests.warehouse.conftest import context, lake

__all__ = ["context", "lake"]
