"""What pyproject.toml asks for is what requirements/*.txt install: `make lock` was not forgotten."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name):
    pins = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("beat.txt", []),
        ("worker.txt", ["worker"]),
        ("run.txt", ["worker", "embedded", "build"]),
        ("dev.txt", ["worker", "embedded", "dev"]),
    ],
)
def test_every_dependency_is_pinned_within_its_range(file, extras):
    wanted = PROJECT["dependencies"] + [line for name in extras for line in PROJECT["optional-dependencies"][name]]
    pins = locked(file)
    for requirement in map(Requirement, wanted):
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement.name} is not in requirements/{file}: make lock"
        assert requirement.specifier.contains(pinned), f"{requirement.name} {pinned} is not {requirement.specifier}"


def test_all_processes_run_the_same_versions():
    everything = locked("dev.txt")
    for file in ("beat.txt", "worker.txt", "run.txt"):
        assert locked(file).items() <= everything.items()


def test_beat_has_nothing_of_the_workers():
    heavy = {"weasyprint", "pyarrow", "xlsxwriter", "css-inline", "fastapi"}

    assert not heavy & locked("beat.txt").keys()
