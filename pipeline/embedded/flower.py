"""Flower, Celery's own view of workers and tasks, behind a password: as a part of the tree, or by `pipeline flower`."""

from __future__ import annotations

import importlib.util
import os
import sys

from pipeline.adapters.flower import variables
from pipeline.embedded.child import Child
from pipeline.settings import Settings

COMMAND = [sys.executable, "-m", "celery", "--quiet", "--app", "pipeline", "flower"]


def is_installed() -> bool:
    return importlib.util.find_spec("flower") is not None


def child(settings: Settings, port: int, environment: dict[str, str]) -> Child:
    """How the tree runs it: for this machine only."""
    return Child("flower", COMMAND, environment={**environment, **variables(settings, "127.0.0.1", port)})


def serve(settings: Settings, host: str, port: int) -> None:
    """Become Flower; it does not return."""
    os.execve(sys.executable, COMMAND, {**os.environ, **variables(settings, host, port)})  # noqa: S606
