"""A PostgreSQL of its own for one measurement: as it comes, so that what is committed is on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.postgresql import administer, serving


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database, gone afterwards."""
    with serving() as folder:
        administer(folder, "CREATE DATABASE benchmark")
        yield f"postgresql://postgres@/benchmark?host={folder}"
