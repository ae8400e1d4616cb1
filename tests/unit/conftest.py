"""What takes longer than most tests and is made once: a clock that stands still, and the web application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from tests.factories import MONDAY


@pytest.fixture(scope="module")
def frozen() -> Iterator[FrozenDateTimeFactory]:
    """Python's clock, stopped once a module; each test moves it to where its story begins."""
    import pipeline.workflows.report  # noqa: F401 - libraries in C, which would warn of a foreign datetime

    with freeze_time(MONDAY) as factory:
        yield factory


@pytest.fixture(scope="session")
def made_app():
    from pipeline.api.app import create_app

    return create_app()


@pytest.fixture
def app(made_app):
    """The web application, watched by nobody: each client has a loop of its own."""
    from pipeline.api.watching import Watchers, look

    made_app.state.watchers = Watchers(look)
    return made_app
