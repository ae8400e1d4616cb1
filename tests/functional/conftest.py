"""What functional tests share: pipelines that run as in production, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.running import Running, running
from tests.postgresql import administer


@pytest.fixture(scope="session")
def sqlite_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("sqlite") / "home"
    yield from running(home)


@pytest.fixture(scope="session")
def postgresql_pipeline(tmp_path_factory: pytest.TempPathFactory, postgresql_server: str) -> Iterator[Running]:
    administer(postgresql_server, "CREATE DATABASE pipeline")
    home = tmp_path_factory.mktemp("postgresql") / "home"
    yield from running(home, f"postgresql+psycopg://postgres@/pipeline?host={postgresql_server}")


@pytest.fixture(params=["sqlite", "postgresql"])
def pipeline(request: pytest.FixtureRequest) -> Running:
    """A pipeline that runs, on either database; one a test process, so every test takes a schedule name of its own."""
    found: Running = request.getfixturevalue(f"{request.param}_pipeline")
    return found
