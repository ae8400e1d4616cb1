"""What the Dockerfiles copy is there, and .dockerignore lets it through: no engine is needed to know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LET_THROUGH = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)


def copied(dockerfile: str) -> list[str]:
    """The sources of the file's COPY lines, from the context and not from another stage."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


@pytest.mark.parametrize("dockerfile", sorted(path.name for path in ROOT.glob("*Dockerfile")))
def test_what_an_image_copies_gets_there(dockerfile):
    sources = copied(dockerfile)
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in LET_THROUGH), f"add !{source}"


def test_what_the_wheel_takes_along_is_copied_into_every_image():
    taken = re.findall(r'^"(\S+)" = "pipeline/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert taken
    for dockerfile in ("beat.Dockerfile", "worker.Dockerfile"):
        assert set(taken) <= set(copied(dockerfile)), dockerfile
