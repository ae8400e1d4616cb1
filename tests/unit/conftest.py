"""What the tests of the HTTP API, its client and the console share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def made_app():
    """Made once: it takes as long as a dozen tests."""
    from pipeline.api.app import create_app

    return create_app()


@pytest.fixture
def app(made_app):
    """The web application, watched by nobody: each client has a loop of its own."""
    from pipeline.api.watching import Watchers, look

    made_app.state.watchers = Watchers(look)
    return made_app
