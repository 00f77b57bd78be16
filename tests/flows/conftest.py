"""The warehouse's fixtures, for flows that work on a real lake."""

from tests.warehouse.conftest import context, lake, template

__all__ = ["context", "lake", "template"]
