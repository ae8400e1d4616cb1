"""A web application with an empty database, and nobody to publish to."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from pipeline import tasks
from pipeline.adapters import passwords
from pipeline.celery import load_workflows
from tests.unit.console.visits import logged_in


@pytest.fixture
def published(home, monkeypatch):
    """The runs that were handed to the broker, which these tests have none of."""
    load_workflows()  # a module that is loaded later would keep what stands here for `publish`
    found = []
    monkeypatch.setattr(tasks, "publish", found.append)
    return found


@pytest.fixture
def stranger(app, database, published):
    """Somebody who is not logged in."""
    with TestClient(app, raise_server_exceptions=True) as client:
        yield client


@pytest.fixture
def http(stranger):
    """Somebody who may do everything."""
    return logged_in(stranger)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    """A hash that costs a millisecond: what it costs is argon2's affair."""
    from argon2 import PasswordHasher

    passwords._hasher.cache_clear()
    passwords._nobodys.cache_clear()
    monkeypatch.setattr("argon2.PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    yield
    passwords._hasher.cache_clear()
    passwords._nobodys.cache_clear()
