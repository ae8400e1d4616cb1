"""The documents tell the truth: what they name exists, what they show is valid, what they promise of a day happens."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipeline import schedule, targets, timing
from pipeline.adapters import home as homes
from pipeline.authoring.check import check
from pipeline.cli import application
from pipeline.db import reading, transaction
from pipeline.models import Run, Step
from pipeline.services import loading
from pipeline.services.runs import Request
from pipeline.settings import Settings, settings
from pipeline.timing.periods import day_start
from pipeline.when import When
from tests.broker import broker, worker

__all__ = ["broker", "worker"]

ROOT = Path(__file__).parent.parent.parent
DOCS = [ROOT / name for name in ("README.md", "HACKING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))
# What a block says it is: `# schedules/NAME.yaml`, `-- schedules/NAME.sql`, `{# templates/… #}`, `# reports/NAME.py`.
PLACE = re.compile(r"(?:#|--|\{#) ((?:schedules|reports|workflows|templates)/\S+?\.\w+)\b")
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCS}
each_document = pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)


def blocks(text: str, *languages: str) -> Iterator[str]:
    """The fenced blocks of these languages."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield block


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def files() -> dict[str, str]:
    """Every block that is a whole file, by its path in a home."""
    found = {}
    for text in TEXTS.values():
        for block in blocks(text, "yaml", "sql", "python", "html"):
            if place := PLACE.match(block):
                assert place[1] not in found, f"{place[1]} is shown twice"
                found[place[1]] = block
    return found


def fragments() -> list[str]:
    return [block for text in TEXTS.values() for block in blocks(text, "yaml") if not PLACE.match(block)]


def typed(text: str) -> Iterator[list[str]]:
    """Every command that somebody may type, in words: the lines of sh blocks, and code in the text."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    pending = ""
    for line in [*lines, *re.findall(r"`([^`\n]+)`", prose(text))]:
        pending += line.removesuffix("\\") + "\n"
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        if not line.endswith("\\"):
            yield from split_at(list(takewhile(lambda word: word != ">", words)), "&&")
            pending = ""
    assert not pending, f"a quotation is not closed: {pending}"


def split_at(words: list[str], mark: str) -> Iterator[list[str]]:
    while mark in words:
        yield words[: words.index(mark)]
        words = words[words.index(mark) + 1 :]
    yield words


def pipeline_commands(text: str) -> Iterator[list[str]]:
    """What follows `pipeline`, also where variables are set before it."""
    for words in typed(text):
        line = list(dropwhile(lambda word: "=" in word, words))
        if len(line) > 1 and line[0].removeprefix(".venv/bin/") == "pipeline":
            yield line[1:]


def known_schedules() -> set[str]:
    shown = {Path(place).stem for place in files() if place.startswith("schedules/")}
    return shown | {path.stem for path in (ROOT / "schedules").glob("*.yaml")}


# ---- commands


@cache
def command_line():
    return typer.main.get_command(application())


@each_document
def test_every_pipeline_command_exists_with_its_options(path):
    group = command_line()
    for name, *words in pipeline_commands(TEXTS[path]):
        if name in {"--help", "--version", "COMMAND"}:
            continue
        said = f"{path.name}: `pipeline {shlex.join([name, *words])}`"
        assert name in group.commands, f"{said}: there is no such command"
        if not words or "--help" in words:  # it is talked about, not typed
            continue
        given = group.commands[name].make_context(name, words).params
        target = next((given[one] for one in ("name", "schedule", "run") if given.get(one)), None)
        if name != "new" and isinstance(target, str) and re.fullmatch(r"[a-z][a-z0-9_]*(@.*)?", target):
            assert target.partition("@")[0] in known_schedules(), f"{said}: there is no such schedule"


@each_document
def test_every_celery_call_names_a_task_and_its_arguments(path):
    from pipeline import tasks

    for words in typed(TEXTS[path]):
        if words[:1] == ["celery"] and "--kwargs" in words:
            wished = json.loads(words[words.index("--kwargs") + 1])
            inspect.signature(tasks.start.app.tasks[words[words.index("call") + 1]].run).bind(**wished)
            assert wished.get("schedule", wished.get("run")) in known_schedules()


@each_document
def test_every_make_target_exists(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {words[1] for words in typed(TEXTS[path]) if words[:1] == ["make"] and len(words) > 1}
    assert used <= targets


def test_every_command_is_documented():
    shown = {words[0] for text in TEXTS.values() for words in pipeline_commands(text)}
    assert not set(command_line().commands) - shown


# ---- links and pictures


def anchors(path: Path) -> set[str]:
    """What a heading is called in a link, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_every_link_resolves(path):
    text = prose(TEXTS[path])
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if re.match(r"\w+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{path.name}: {link}"
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}: no such heading"


@pytest.mark.parametrize("name", ["HACKING.md", "docs/design.md", "docs/operate.md"])
def test_every_file_of_ours_that_is_named_exists(name):
    for place in re.findall(r"`((?:pipeline|tests|docs|requirements|migrations)/[\w/.]+)`", prose(TEXTS[ROOT / name])):
        assert (ROOT / place).exists(), f"{name}: {place}"


def test_the_layers_are_those_that_are_checked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    checked = [re.findall(r"\w+", layer) for layer in project[0]["layers"]]
    there = [[name for name in layer if list((ROOT / "pipeline").glob(f"{name}*"))] for layer in checked]
    (shown,) = [block for block in blocks(TEXTS[ROOT / "docs" / "design.md"], "") if "errors" in block]
    assert [re.findall(r"\w+", line) for line in shown.splitlines()] == [layer for layer in there if layer]


def test_the_pictures_are_light_and_fetch_nothing():
    pictures = [one for one in (ROOT / "docs" / "images").iterdir() if one.suffix in {".png", ".svg"}]
    assert sum(one.stat().st_size for one in pictures) < 400_000
    for one in pictures:
        if one.suffix == ".svg":
            assert not re.search(r"url\(.?http|href=.http|@import|<script", one.read_text(encoding="utf-8"))


# ---- settings


@each_document
def test_every_setting_that_is_named_exists(path):
    known = {name.upper() for name in Settings.model_fields} | {name.upper() for name in targets.PLACEHOLDERS}
    known |= {"API_URL", "API_TOKEN"}  # the client's own
    for name in set(re.findall(r"\bPIPELINE_(\w+)", TEXTS[path])):
        assert name in known or name.startswith(("SOURCE_", "PARAM_", "HOOK_")), f"{path.name}: PIPELINE_{name}"


def test_every_setting_is_told_with_its_default():
    rows = dict(re.findall(r"^\| `PIPELINE_(\w+)` \|([^|]*)\|", TEXTS[ROOT / "docs" / "settings.md"], re.MULTILINE))
    assert rows.keys() == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if field.default_factory is None and default not in ("", None):
            expected = f"{default:g}" if isinstance(default, float) else str(default)
            assert rows[name.upper()].strip(" `") == expected


# ---- what is shown


@pytest.fixture
def shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example's home with every file that the documents show; its workflow is forgotten afterwards."""
    for folder in ("schedules", "reports", "templates"):
        shutil.copytree(ROOT / folder, home / folder, dirs_exist_ok=True)
    (home / "examples").symlink_to(ROOT / "examples")
    beside = {
        "schedules/customer_shipments.sql": "select customer_id from shipments where day >= :start and day < :end",
        "schedules/late_departures.sql": next(
            words[words.index("--query") + 1]
            for words in typed(TEXTS[ROOT / "docs" / "add-a-report.md"])
            if "--query" in words
        ),
    }
    for place, text in (beside | files()).items():
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PIPELINE_SOURCE_WAREHOUSE_URL", "sqlite:///warehouse.db")
    settings.cache_clear()
    yield home
    from pipeline import tasks

    sys.modules.pop("workflows.nightly_import", None)
    for registry in (tasks.WORKFLOWS, tasks.STEPS):
        for name in [one for one in registry if one.startswith("nightly_import")]:
            del registry[name]


def test_every_file_that_is_shown_is_in_order(shown):
    found = check()
    assert not found.faults, "\n".join(map(str, found.faults))
    assert {"customer_shipments", "late_departures", "nightly_import"} <= {one.name for one in found.fine}


@pytest.mark.parametrize("text", fragments(), ids=lambda text: text.split(":")[0])
def test_every_field_that_is_shown_is_one(text):
    said: dict[str, Any] = yaml.safe_load(text)
    if said.keys() & {"workflow", "task", "command"}:
        schedule.parse(said, "the document")
        return
    report = said.get("report", {})
    source = {} if report.keys() & {"sql", "url", "sources"} else {"url": "data/rows.csv"}
    schedule.parse({**said, "report": {"title": "Shown", **source, **report}}, "the document")


def test_the_build_that_is_shown_works():
    names: dict[str, Any] = {}
    exec(files()["reports/late_departures.py"], names)  # noqa: S102 - our own document
    rows = [_Flight("1", "ORD", 75, date(2013, 9, 9)), _Flight("2", "SFO", 190, date(2013, 9, 10))]
    built = names["build"](rows, None, {})
    assert built["summary"] == "2 flights left an hour late or more, 2 to SFO the latest."
    assert built["figures"] == {"Flights": 2, "Days": 2}


class _Flight:
    def __init__(self, flight, dest, dep_delay, day):
        self.flight, self.dest, self.dep_delay, self.day = flight, dest, dep_delay, day


def test_the_workflow_that_is_shown_imports_its_days(database, shown, worker):
    """Two days have come; the check of the third run finds fewer sales than it wants."""
    from pipeline import tasks

    for day, rows in {"2026-11-10": "eu,5\n", "2026-11-11": "us,7\neu,1\n"}.items():
        file = database / "incoming" / f"sales-{day}.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text("day,region,amount\n" + "".join(f"{day},{row}\n" for row in rows.splitlines()))
    with transaction() as session:
        loading.sync(session, homes.load(shown))

    def run(**wish):
        run_id, _ = tasks.trigger(Request("nightly_import", **wish))
        worker.work()
        with reading() as session:
            return session.get_one(Run, run_id), session.query(Step).filter_by(run_id=run_id).all()

    done, steps = run(period="2026-11-10..2026-11-12")
    assert (done.status, done.error) == ("succeeded", None)
    assert [one.result for one in steps if one.name == "load"] == [{"rows": 3}]
    done, _ = run(period="2026-11-10")
    assert (done.status, done.error) == ("failed", "check:2: 1 sales for 10 Nov 2026: fewer than 2")
    done, steps = run(period="2026-11-12")
    (waiting,) = [one for one in steps if one.name.startswith("fetch_day")]
    assert (waiting.status, waiting.error) == ("queued", "sales-2026-11-12.csv has not come yet")


# ---- schedules and periods, as their tables say


def table(path: Path, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its first two lines."""
    section = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


SCHEDULES = ROOT / "docs" / "add-a-schedule.md"


OF_DAYS = [row for row in table(SCHEDULES, "On which days") if row[0].startswith("`{")]


@pytest.mark.parametrize("row", OF_DAYS, ids=lambda row: row[0])
def test_at_the_turn_of_the_year_a_schedule_fires_as_the_table_says(row):
    zone = "Europe/Berlin"
    spec = When.model_validate(yaml.safe_load(row[0].strip("`"))).spec(zone)
    ends = [day_start(day, zone) for day in (date(2026, 12, 24), date(2027, 1, 6))]
    fires = [slot.due_at for slot in timing.slots_between(spec, zone, *ends) if slot.fires]
    assert " ".join(str(at.astimezone(timing.find_zone(zone)).day) for at in fires) == row[1]


@pytest.mark.parametrize("row", table(SCHEDULES, "When the clocks change"), ids=lambda row: row[0])
def test_on_the_two_odd_days_a_schedule_fires_as_the_table_says(row):
    zone = "Europe/Berlin"
    spec = When.model_validate(yaml.safe_load(row[0].strip("`"))).spec(zone)
    for day, said in zip((date(2026, 3, 29), date(2026, 10, 25)), row[1:], strict=True):
        ends = [day_start(one, zone) for one in (day, day.replace(day=day.day + 1))]
        fires = [slot.due_at for slot in timing.slots_between(spec, zone, *ends) if slot.fires]
        local = [at.astimezone(timing.find_zone(zone)).isoformat(timespec="minutes")[11:] for at in fires]
        assert said == (f"{len(fires)} times" if len(fires) > 2 else " ".join(local) or "never")


@pytest.mark.parametrize("row", table(SCHEDULES, "Periods"), ids=lambda row: row[0])
def test_a_period_is_what_the_table_says(row):
    for written in re.findall(r"`([^`]+)`", row[0]):
        label = timing.period(written, datetime(2026, 11, 18, 12, tzinfo=UTC), "UTC").label
        if "_" in written and "hours" not in written:
            assert label in row[1]
