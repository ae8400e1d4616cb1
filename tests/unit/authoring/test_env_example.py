"""`.env.example` is the settings' documentation: it must name each of them, with the default that it really has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from pipeline.authoring import homes
from pipeline.settings import PREFIX, Settings, settings

ROOT = Path(__file__).parents[3]
TEXT = (homes.STARTER / "env.example").read_text(encoding="utf-8")
# A paragraph: comments that explain, then settings that are commented out.
SETTING = re.compile(r"^# (PIPELINE_[A-Z_]+)=(.*)$", re.MULTILINE)
DOCUMENTED = {
    name: value
    for name, value in SETTING.findall(TEXT)
    if not name.startswith(f"{PREFIX}SOURCE_") or name.endswith(("TIMEOUT", "BYTES"))
}
# What is made out of the others, or of the machine: the text says how.
COMPUTED = {"home", "database_url", "broker_url", "result_url", "storage_url", "concurrency", "watch_schedules"}
KNOWN = {name for name, field in Settings.model_fields.items() if field.init is not False}


def test_every_setting_is_documented_and_no_other():
    assert {name.removeprefix(PREFIX).lower() for name in DOCUMENTED} == KNOWN


@pytest.mark.parametrize("name", sorted(KNOWN - COMPUTED))
def test_the_default_is_the_real_one(name):
    default = Settings.model_fields[name].default
    shown = (
        "" if default in (None, PydanticUndefined) else f"{default:g}" if isinstance(default, float) else str(default)
    )
    assert DOCUMENTED[f"{PREFIX}{name.upper()}"] == shown


@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_a_default_that_is_worked_out_is_said_in_words(name):
    paragraph = next(one for one in TEXT.split("\n\n") if f"# {PREFIX}{name.upper()}=" in one)
    assert "Default:" in paragraph
    assert DOCUMENTED[f"{PREFIX}{name.upper()}"] == ""


def test_with_every_line_taken_into_use_nothing_changes(home, monkeypatch):
    before = settings()
    lines = [f"{name}={value}" for name, value in DOCUMENTED.items()]
    (home / ".env").write_text("\n".join(lines), encoding="utf-8")
    settings.cache_clear()
    assert settings() == before


def test_the_file_at_the_root_is_the_one_that_homes_get():
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == TEXT
