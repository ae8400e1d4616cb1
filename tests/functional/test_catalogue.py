"""Every shipped schedule, as a clone has it: it loads, is due, asks the real example, and makes its documents."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline import timing
from pipeline.adapters import datasets, home
from pipeline.adapters.drafts import Addressee
from pipeline.adapters.home import ScheduleFile
from pipeline.authoring.check import check
from pipeline.authoring.preview import render
from pipeline.authoring.rehearsal import Rehearsal, Wish, rehearsal
from pipeline.celery import load_workflows
from pipeline.report import Report
from pipeline.schedule import Schedule
from pipeline.settings import settings
from pipeline.tasks import bound_parameters
from pipeline.workflows.report import addressing, planning

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 16, 12, 0, tzinfo=UTC)
FILES = home.load(ROOT).files
SCHEDULES = sorted(FILES)
REPORTS = [name for name in SCHEDULES if FILES[name].schedule.report]
WORKFLOWS = [name for name in SCHEDULES if FILES[name].schedule.workflow]


@dataclass(frozen=True)
class Rehearsed:
    """A shipped report with its sources fetched: how many rows each key has, and who gets what."""

    run: Rehearsal
    report: Report
    rows: dict[str | None, int]
    addressees: list[Addressee]

    @property
    def keys(self) -> list[str]:
        return sorted(key for key in self.rows if key)

    def read(self, key: str) -> str:
        """The text of the key's PDF, line ends as spaces."""
        from pypdf import PdfReader

        pages = PdfReader(render(self.run, [], key, "pdf").files["pdf"]).pages
        return " ".join(" ".join(page.extract_text() for page in pages).split())


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with what the repository ships, the example's database not built yet."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("schedules", "reports", "templates"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "examples").symlink_to(ROOT / "examples")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIPELINE_HOME", str(folder))
        environment.delenv("PIPELINE_SOURCE_FLIGHTS_URL", raising=False)
        settings.cache_clear()
        yield folder
    settings.cache_clear()


@pytest.fixture(scope="module")
def rehearsed(clone: Path) -> Iterator[dict[str, Rehearsed]]:
    with ExitStack() as stack:
        yield {name: _rehearsed(stack.enter_context(rehearsal(Wish(name), at=NOON))[0]) for name in REPORTS}


def _rehearsed(run: Rehearsal) -> Rehearsed:
    report = planning.report_of(run.definition)
    rows = planning.rows_by_key(run.get(f"dataset:{report.main_source}"), report)
    source = run.definition.recipients.source
    people = addressing.people_in(run.get("dataset:recipients"), report) if source else run.definition.recipients.people
    return Rehearsed(run, report, rows, [addressing.addressee(person, report) for person in people])


@pytest.fixture(params=REPORTS)
def shipped(request: pytest.FixtureRequest, rehearsed: dict[str, Rehearsed]) -> Rehearsed:
    return rehearsed[request.param]


@pytest.fixture(params=SCHEDULES)
def file(request: pytest.FixtureRequest) -> ScheduleFile:
    return FILES[request.param]


@pytest.mark.usefixtures("clone")
def test_pipeline_check_has_nothing_to_say():
    checked = check()
    assert (checked.faults, checked.notes) == ([], [])
    assert [one.name for one in checked.fine] == SCHEDULES


def test_it_says_what_it_is_for_and_editors_find_its_schema(file):
    text = (ROOT / file.place).read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../docs/schedule.schema.json\n")
    assert (ROOT / "docs" / "schedule.schema.json").is_file()
    assert file.schedule.description


def test_it_is_due_again(file):
    when = file.schedule.when
    assert when is not None
    assert timing.next_after(when.spec("UTC"), when.timezone or "UTC", NOON) > NOON


@pytest.mark.parametrize("name", WORKFLOWS)
def test_its_workflow_is_known_and_takes_its_parameters(name):
    load_workflows()
    definition: Schedule = FILES[name].schedule
    assert bound_parameters(str(definition.workflow), definition.params) == definition.params


def test_a_document_is_made_in_every_format_with_its_message(shipped):
    preview = render(shipped.run, [])
    assert sorted(preview.files) == sorted(shipped.report.formats)
    assert all(path.stat().st_size > 1_000 for path in preview.files.values())
    assert preview.warnings == []
    assert preview.message.subject
    assert [one.name.rpartition(".")[2] for one in preview.attached] == shipped.report.formats


def test_every_address_can_be_written_to(shipped):
    assert shipped.addressees
    assert [one for one in shipped.addressees if one.problem] == []


def test_nearly_every_document_has_somebody_to_go_to(shipped):
    reached = {one.key for one in shipped.addressees}
    without = [key for key in shipped.keys if key not in reached]
    assert len(without) <= len(shipped.keys) / 50


def test_no_mail_of_the_example_can_reach_anyone(shipped):
    assert {one.address.rpartition(".")[2] for one in shipped.addressees} <= {"example", "com"}
    assert all(one.address.endswith((".example", "@example.com")) for one in shipped.addressees)


# ---- what the example promises


def test_the_carriers_are_sixteen_and_one_that_gets_mail_has_no_flights(rehearsed):
    carriers = rehearsed["carrier_review"]
    assert len(carriers.keys) == 16
    assert {one.key for one in carriers.addressees} - set(carriers.keys) == {"XE"}


def test_one_destination_has_nobody_to_write_to(rehearsed):
    destinations = rehearsed["destination_brief"]
    assert set(destinations.keys) - {one.key for one in destinations.addressees} == {"CAE"}


def test_some_cancelled_flights_never_had_an_aircraft(rehearsed):
    aircraft = rehearsed["aircraft_log"]
    assert (len(aircraft.keys), aircraft.rows[None]) == (922, 31)
    assert max(count for key, count in aircraft.rows.items() if key) < 40  # one page each


def test_the_carrier_review_says_what_a_manager_asks_first(rehearsed):
    text = rehearsed["carrier_review"].read("B6")
    assert "JetBlue Airways out of New York" in text
    assert "78% of 984 flights arrived on time, 3 points above all carriers together." in text
    assert "The worst day was Thursday, with 46%." in text
    assert "Routes, least punctual first" in text
    assert "Martha's Vineyard" in text  # the register has a backslash there


def test_the_destination_brief_shows_every_day_of_the_month(rehearsed):
    text = rehearsed["destination_brief"].read("ATL")
    assert "Hartsfield Jackson Atlanta Intl" in text
    assert text.count(" flights") >= 30
    assert "Page 1 of 1" in text


def test_an_airport_that_is_not_in_the_register_is_called_by_its_code(rehearsed):
    assert "SJU Arrivals from New York · September 2013" in rehearsed["destination_brief"].read("SJU")


def test_the_database_was_built_on_first_use_and_by_nobody_else(rehearsed, clone):
    assert (clone / "var" / "example" / "flights.db").stat().st_size > 40_000_000
    assert datasets.shape(rehearsed["delays_by_day"].run.get("dataset:rows")).rows == 7
