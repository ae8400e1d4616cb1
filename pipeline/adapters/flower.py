"""What Flower, Celery's own view, is told by its environment: whom it lets in, where it listens, what it remembers."""

from __future__ import annotations

import os

from pipeline.adapters.secret_keys import flower_password
from pipeline.settings import Settings

USER = "pipeline"
PORT = 5555
# Flower's own variables, which are no secret of the command line as its options are; those that are set win.
DEFAULTS = {
    "FLOWER_MAX_TASKS": "10000",  # in memory; our rows know all of them
    "FLOWER_TASKS_COLUMNS": "name,kwargs,state,received,runtime,worker,uuid",  # kwargs say which run and step
    "FLOWER_ENABLE_EVENTS": "false",  # our workers send them without being asked
    "FLOWER_PURGE_OFFLINE_WORKERS": "600",
}


def variables(settings: Settings, host: str, port: int) -> dict[str, str]:
    """The variables for a Flower that listens there; nobody gets in without the password."""
    user = settings.flower_auth or f"{USER}:{flower_password(settings).read_text().strip()}"
    told = {"FLOWER_ADDRESS": host, "FLOWER_PORT": str(port), "FLOWER_BASIC_AUTH": user}
    return {**{name: value for name, value in DEFAULTS.items() if name not in os.environ}, **told}


def who_gets_in(settings: Settings) -> str:
    """For people: where the name and the password stand."""
    return "PIPELINE_FLOWER_AUTH" if settings.flower_auth else f"{USER}, see {flower_password(settings)}"


def lock(settings: Settings, words: list[str]) -> str:
    """See to it that `celery -A pipeline flower …` (`words`) is no open door; by itself Flower lets everybody in.

    What its command line, environment or flowerconfig.py say of its own door wins. Returns what to tell people.
    """
    if os.environ.keys() & {"FLOWER_BASIC_AUTH", "FLOWER_AUTH"} or any(
        word.replace("_", "-").startswith(("--basic-auth", "--auth")) for word in words
    ):
        return ""
    for name, value in variables(settings, "127.0.0.1", settings.flower_port or PORT).items():
        os.environ.setdefault(name, value)
    return f"Flower asks for a password ({who_gets_in(settings)}); --address is 127.0.0.1 unless you say another."
