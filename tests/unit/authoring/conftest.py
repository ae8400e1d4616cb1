"""What the authoring tests share: files written into a home, and workflows that are forgotten afterwards."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

Write = Callable[..., None]


@pytest.fixture
def write(home: Path) -> Write:
    """Write files into the home: `write(**{"schedules/a.yaml": "…"})`; indentation that all lines share is dropped."""

    def written(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")

    return written


@pytest.fixture(autouse=True)
def forgotten_workflows() -> Iterator[None]:
    """A home's workflows are registered for the whole process: take out what this test brought, and nothing else."""
    from pipeline import tasks, workflows

    for module in pkgutil.iter_modules(workflows.__path__, "pipeline.workflows."):
        importlib.import_module(module.name)
    known, steps, modules = dict(tasks.WORKFLOWS), dict(tasks.STEPS), set(sys.modules)
    yield
    for registry, before in ((tasks.WORKFLOWS, known), (tasks.STEPS, steps)):
        registry.clear()
        registry.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("workflows."):
            del sys.modules[name]
