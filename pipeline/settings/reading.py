"""Reads the settings of this process, and says in sentences what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from os import environ
from typing import Any

from pydantic import ValidationError

from pipeline.errors import DefinitionError
from pipeline.mistakes import nearest
from pipeline.settings.environment import PREFIX, environment, home_folder, masked, source_urls
from pipeline.settings.model import Settings

# Settings whose values no error repeats.
SECRET = {"dkim_key", "flower_auth", "secret_key"}
# What Celery reads from the environment before its options; `celery --broker` and `--result-backend` set them, too.
CELERYS = {
    "broker_url": ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"),
    "result_url": ("CELERY_RESULT_BACKEND",),
}


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once; `settings.cache_clear()` reads them again (tests).

    Raises DefinitionError with one line per wrong setting: its name, its value (secrets masked), what is allowed.
    """
    values = {k.removeprefix(PREFIX).lower(): v for k, v in environment().items() if k.startswith(PREFIX)}
    problems = [*_misspelt(values), *_wrong_sources()]
    try:
        found = Settings(_env_file=home_folder() / ".env")
    except ValidationError as error:
        problems += [_sentence(problem, values) for problem in error.errors()]
    else:
        problems += _celerys_own(found)
    if problems:
        raise DefinitionError("\n".join(problems))
    return found


def _celerys_own(found: Settings) -> Iterator[str]:
    """A sentence for every variable with which Celery would pass over our address: half of a run would go elsewhere."""
    for ours, names in CELERYS.items():
        for name in names:
            said = environ.get(name)
            if said and said != getattr(found, ours):
                yield f'{name}="{masked(said)}": leave it out, and say it in {PREFIX}{ours.upper()} to all processes'


def _misspelt(values: dict[str, str]) -> Iterator[str]:
    """A sentence for every name that is nearly a setting's: a team's own PIPELINE_ variables are left alone."""
    for name in sorted(values.keys() - Settings.model_fields.keys()):
        near = nearest(name, Settings.model_fields, alike=0.8)
        if near and not re.fullmatch(r"(source|hook)_\w+_url|param_\w+", name):
            yield f"{PREFIX}{name.upper()} is not a setting: did you mean {PREFIX}{near.upper()}?"


def _wrong_sources() -> Iterator[str]:
    """A sentence for every database of a report whose URL is none."""
    for name, url in source_urls().items():
        if not re.match(r"[a-z][a-z0-9_]*(\+[a-z0-9_]+)?://", url):
            variable = f"{PREFIX}SOURCE_{name.upper()}_URL"
            yield f'{variable}="{masked(url)}": must look like postgresql://user:password@host/database or sqlite:///data.db'


def _sentence(problem: Any, values: dict[str, str]) -> str:
    name = str(problem["loc"][0])
    reason = problem["msg"].removeprefix("Value error, ")
    said = values.get(name, "")
    shown = "***" if said and name in SECRET else masked(said) if name.endswith("url") else said
    if name in {"notify", "digest"}:  # who knows a webhook's path may write to it
        shown = re.sub(r"(https?://[^/\s,]+/)[^\s,]+", r"\1***", shown)
    return f'{PREFIX}{name.upper()}="{shown}": {reason[0].lower()}{reason[1:]}'
