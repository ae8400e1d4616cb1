"""Flower, Celery's own view of workers and tasks, behind a password: as a part of the tree, or by `pipeline flower`."""

from __future__ import annotations

import importlib.util
import os
import sys

from pipeline.adapters.secret_keys import flower_password
from pipeline.embedded.child import Child
from pipeline.settings import Settings

USER = "pipeline"
COMMAND = [sys.executable, "-m", "celery", "--quiet", "--app", "pipeline", "flower"]
# Flower's own variables, which are no secret of the command line as its options are; those that are set win.
DEFAULTS = {
    "FLOWER_MAX_TASKS": "10000",  # in memory; our rows know all of them
    "FLOWER_TASKS_COLUMNS": "name,kwargs,state,received,runtime,worker,uuid",  # kwargs say which run and step
    "FLOWER_ENABLE_EVENTS": "false",  # our workers send them without being asked
    "FLOWER_PURGE_OFFLINE_WORKERS": "600",
}


def is_installed() -> bool:
    return importlib.util.find_spec("flower") is not None


def child(settings: Settings, port: int, environment: dict[str, str]) -> Child:
    """How the tree runs it: for this machine only."""
    return Child("flower", COMMAND, environment={**environment, **variables(settings, "127.0.0.1", port)})


def serve(settings: Settings, host: str, port: int) -> None:
    """Become Flower; it does not return."""
    os.execve(sys.executable, COMMAND, {**os.environ, **variables(settings, host, port)})  # noqa: S606


def variables(settings: Settings, host: str, port: int) -> dict[str, str]:
    """What Flower is told by its environment: where it listens, who is let in, and how much it remembers."""
    user = settings.flower_auth or f"{USER}:{flower_password(settings).read_text().strip()}"
    told = {"FLOWER_ADDRESS": host, "FLOWER_PORT": str(port), "FLOWER_BASIC_AUTH": user}
    return {**{name: value for name, value in DEFAULTS.items() if name not in os.environ}, **told}
