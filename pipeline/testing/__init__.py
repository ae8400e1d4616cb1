"""For a team's own tests: reports made from rows that a test gives, and tests of everything in a home.

In the home's tests/conftest.py: `pytest_plugins = ["pipeline.testing"]`. Nothing is asked, sent, or kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters import home
from pipeline.settings import settings
from pipeline.testing.catalogue import Catalogue
from pipeline.testing.rendering import Documents, Rendered, Renderer

__all__ = ["Catalogue", "Documents", "Rendered", "Renderer"]


def home_of(path: Path) -> Path:
    """The home that a test file lies in: the nearest folder above it that has schedules/, else the active one."""
    return next((folder for folder in path.parents if (folder / "schedules").is_dir()), settings().home)


@pytest.fixture
def pipeline_home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home that the test is about, made the active one."""
    found = home_of(request.path)
    monkeypatch.setenv("PIPELINE_HOME", str(found))
    settings.cache_clear()
    yield found
    settings.cache_clear()


@pytest.fixture
def render(pipeline_home: Path) -> Renderer:
    """`render("customer_shipments", rows=[{…}], at="2026-11-16T07:00")`: a run's documents, by their keys."""
    return Renderer()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `scheduled` is one for each schedule of its home, for `reported` one for each report."""
    for name in ("scheduled", "reported"):
        if name not in metafunc.fixturenames:
            continue
        loaded = home.load(home_of(metafunc.definition.path))
        known = {key: file.schedule.kind for key, file in loaded.files.items()}
        wanted = [key for key, kind in known.items() if name == "scheduled" or kind == "report"]
        wanted += loaded.errors_by_key if name == "scheduled" else []
        metafunc.parametrize(name, sorted(wanted))
