"""What the command line's tests share: a way to type a command, and a broker that takes what is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import pools
from typer.testing import CliRunner, Result

from pipeline.cli import application

Typed = Callable[..., Result]


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


@pytest.fixture
def broker() -> Iterator[Any]:
    """Celery's app with a broker in memory: what is published stays in its queues, and nobody takes it."""
    from pipeline.celery import app

    urls = {name: app.conf[name] for name in ("broker_url", "result_backend")}
    _use(app, broker_url="memory://", result_backend="cache+memory://")
    yield app
    _use(app, **urls)


@pytest.fixture
def no_broker(broker: Any, tmp_path: Path) -> Iterator[None]:
    """A broker that is away, and found to be so at once."""
    _use(broker, broker_url=f"redis+socket://{tmp_path}/none.sock", task_publish_retry=False)
    yield
    _use(broker, task_publish_retry=True)


def _use(app: Any, **options: Any) -> None:
    """Change the app's options, and forget the connections that were made with the former ones."""
    app.conf.update(options)
    pools.reset()
    app._pool = app.amqp._producer_pool = None
    app._local.__dict__.pop("backend", None)
