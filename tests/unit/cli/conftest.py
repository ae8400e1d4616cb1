"""What the command line's tests share: a way to type a command, and a broker that takes what is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from pipeline.cli import application
from tests.broker import broker, no_broker

__all__ = ["broker", "no_broker"]

Typed = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    """Made once: Typer makes every command anew for each line that is typed, which takes a tenth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command into a terminal of 80 columns; the answer has exit_code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *words: CliRunner().invoke(application(), [*map(str, words)], catch_exceptions=False)


@pytest.fixture
def as_json(typed: Typed) -> Callable[..., Any]:
    """Types a command with --json, which has to succeed, and reads the answer."""

    def read(*words: object) -> Any:
        result = typed(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return read
