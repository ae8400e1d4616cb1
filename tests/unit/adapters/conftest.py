"""What the adapters' tests share: one call that fetches a source and reads its rows back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.adapters import datasets, sources
from pipeline.report import Source
from pipeline.timing import Period, period
from tests.smtp_server import smtp_server

__all__ = ["smtp_server"]

# The week of 9 November 2026 in Berlin: it starts and ends at 23:00 UTC.
WEEK = period("last_week", datetime(2026, 11, 16, 6, tzinfo=UTC), "Europe/Berlin")


@dataclass(frozen=True)
class Fetched:
    dataset: sources.Dataset
    path: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [dict(row) for row in datasets.rows(self.path)]

    @property
    def types(self) -> dict[str, str]:
        schema = pq.read_schema(self.path)
        return {name: str(schema.field(name).type) for name in schema.names}

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in datasets.rows(self.path)]


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., Fetched]:
    """Fetch a source, given by its YAML fields; the home is tmp_path, and its database is warehouse.db there."""

    def fetch_source(
        fields: dict[str, Any],
        *,
        during: Period = WEEK,
        url: str = "sqlite:///warehouse.db",
        timeout: float = 30,
        max_bytes: int = 100_000_000,
        on_progress: Callable[[int], None] | None = None,
        **parameters: Any,
    ) -> Fetched:
        source = Source(**({"database": "warehouse"} if "sql" in fields else {}), **fields)
        path = tmp_path / "datasets" / "rows.parquet"
        dataset = sources.fetch(
            source, name="shipments", period=during, parameters=parameters, destination=path, home=tmp_path,
            database_url={"warehouse": url}.__getitem__, timeout=timeout, max_bytes=max_bytes, on_progress=on_progress,
        )  # fmt: skip
        # Nothing but the dataset itself is left behind.
        assert [left.name for left in path.parent.iterdir()] == ["rows.parquet"]
        return Fetched(dataset, path)

    return fetch_source


@pytest.fixture
def warehouse(tmp_path: Path) -> Callable[[str], None]:
    """Run a script in the home's warehouse.db."""

    def execute(script: str) -> None:
        connection = sqlite3.connect(tmp_path / "warehouse.db")
        connection.executescript(script)
        connection.close()

    execute("")
    return execute
