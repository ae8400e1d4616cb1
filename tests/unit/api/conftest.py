"""What the tests of the API share: a client of the application, and tokens for it."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from pipeline.db import transaction
from pipeline.models import Scope
from pipeline.publisher import Publisher
from pipeline.services import api_tokens
from pipeline.services.audit import Actor


@pytest.fixture
def published(monkeypatch):
    """The runs that were handed to the broker, which these tests have none of."""
    found = []
    monkeypatch.setattr(Publisher, "put", lambda _, run_ids: found.extend(run_ids))
    return found


@pytest.fixture
def http(app, database, published):
    with TestClient(app) as client:
        yield client


@pytest.fixture
def as_(http):
    """The client with a token of a scope."""

    def client(scope=Scope.OPERATE):
        with transaction() as session:
            secret = api_tokens.create(session, f"of scope {scope}", scope, Actor("anna", "cli"))[1]
        http.headers["Authorization"] = f"Bearer {secret}"
        return http

    return client
