import sqlite3

import pytest
from sqlalchemy import update

from pipeline import db, doctor
from pipeline.doctor import Verdict, machine, reach
from pipeline.models import NoticeDelivery
from pipeline.notice import Kind
from pipeline.services import notices
from pipeline.settings import settings
from tests.smtp_server import smtp_server

__all__ = ["smtp_server"]


def examined():
    settings.cache_clear()
    return {check.name: check for check in doctor.examine(settings())}


def test_on_a_fresh_clone_nothing_is_a_fault_and_nothing_is_made(home):
    checks = examined()

    assert {check.name: check.found for check in checks.values() if check.verdict is Verdict.FAULT} == {}
    assert checks["broker"].found == "bundled, not running: it comes with `pipeline up`"
    assert "does not exist yet" in checks["database"].found
    assert checks["mail catcher"].found == "not running: it comes with `pipeline up`"
    assert "nothing leaves this machine" in checks["mail"].found
    assert checks["PDF libraries"].found.startswith("Pango 1.")
    assert [path.name for path in home.iterdir()] == ["schedules"]


def test_what_does_not_answer_is_a_fault_with_the_setting_to_correct(home, monkeypatch):
    monkeypatch.setenv("PIPELINE_BROKER_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("PIPELINE_MAIL", "live")
    monkeypatch.setenv("PIPELINE_SMTP_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("PIPELINE_STORAGE_URL", "sftp://127.0.0.1:1/x")
    monkeypatch.setenv("PIPELINE_MIN_FREE_MB", "999999999999")

    checks = examined()

    assert "redis://:***@127.0.0.1:1/0 does not answer" in checks["broker"].found
    assert "PIPELINE_BROKER_URL" in checks["broker"].advice
    assert "PIPELINE_SMTP_URL" in checks["mail relay"].advice
    assert "PIPELINE_STORAGE_URL" in checks["artifacts"].advice
    assert checks["disk"].verdict is Verdict.WARNING
    assert all("secret" not in check.found for check in checks.values())


def test_the_place_for_rabbitmqs_results_is_looked_at_too(home, monkeypatch):
    monkeypatch.setenv("PIPELINE_BROKER_URL", "amqp://127.0.0.1:1")
    monkeypatch.setenv("PIPELINE_RESULT_URL", "redis://127.0.0.1:1")

    checks = examined()

    assert checks["broker"].verdict is Verdict.FAULT
    assert "PIPELINE_RESULT_URL" in checks["results"].advice


def test_a_database_of_another_version_is_a_fault(home):
    with sqlite3.connect(settings().var.parent / "old.db") as connection:
        connection.execute("create table something (else_entirely)")
    connection.close()
    configured = settings().model_copy(update={"database_url": f"sqlite:///{home / 'old.db'}"})
    db._engine = None

    settings().database_url = configured.database_url
    check = reach.database(configured)
    db.engine().dispose()
    db._engine = None

    assert check.verdict is Verdict.FAULT
    assert "`pipeline migrate`" in check.advice


def test_a_missing_package_or_library_comes_with_its_command(home, monkeypatch):
    monkeypatch.setattr(
        machine.metadata, "requires", lambda _: ["celery>=99", "no-such-thing>=1", 'x>1; extra == "dev"']
    )
    check = machine.packages(settings())
    assert "celery is 5." in check.found
    assert "no-such-thing is missing" in check.found
    assert "make setup" in check.advice

    monkeypatch.setattr(machine, "SUBSET", ("libnothing.so.0",))
    assert machine.libraries(settings()).advice.endswith("libharfbuzz-subset0`")

    monkeypatch.setattr(machine, "LIBRARIES", {**machine.LIBRARIES, "libpango-1.0-0": ("libnothing.so.0",)})
    assert machine.libraries(settings()).verdict is Verdict.FAULT


def test_one_check_that_breaks_does_not_hide_the_others(home, monkeypatch):
    def broken(_):
        raise RuntimeError("oops")

    monkeypatch.setattr(doctor, "CHECKS", (broken, machine.python))

    first, second = doctor.examine(settings())

    assert (first.verdict, first.found) == (Verdict.FAULT, "could not be checked: RuntimeError: oops")
    assert second.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("url", "verdict", "words"),
    [
        ("sqlite:///flights.db", Verdict.OK, "which can only read"),
        ("sqlite:///missing.db", Verdict.FAULT, "does not exist"),
        ("nosuch://host/flights", Verdict.FAULT, "the driver of nosuch is missing"),
        (None, Verdict.FAULT, "set PIPELINE_SOURCE_FLIGHTS_URL (known databases: none)"),
    ],
)
def test_a_reports_database_says_who_we_are(home, monkeypatch, url, verdict, words):
    sqlite3.connect(home / "flights.db").close()
    if url:
        monkeypatch.setenv("PIPELINE_SOURCE_FLIGHTS_URL", url)

    check = doctor.examine_source("flights")

    assert check.verdict is verdict
    assert words in check.found


@pytest.fixture
def told(database):
    """A notice to one target, as it stands after some attempts."""

    def told(**values):
        with db.transaction() as session:
            notices.tell(session, Kind.TEST, "schedule:x", "1", targets=["ops@example.com"])
            session.execute(update(NoticeDelivery).values(**values))

    return told


@pytest.mark.parametrize("values", [{"status": "failed"}, {"attempts": 2}])
def test_notices_that_did_not_get_there_are_warned_of(told, values):
    told(**values)

    check = examined()["notices"]
    assert check.verdict is Verdict.WARNING
    assert check.found == "1 notice of the last days did not reach somebody"
    assert "`pipeline notices --open`" in check.advice


def test_whoever_mails_for_real_is_warned_that_nobody_hears_of_failures(database, monkeypatch):
    assert examined()["notices"].verdict is Verdict.OK
    monkeypatch.setenv("PIPELINE_MAIL", "live")
    monkeypatch.setenv("PIPELINE_SMTP_URL", "smtp://127.0.0.1:1")

    assert examined()["notices"].verdict is Verdict.WARNING
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@example.com")
    assert examined()["notices"].found == "ops@example.com hear of failures"


def test_with_a_second_relay_that_answers_one_that_does_not_is_a_warning(database, monkeypatch, smtp_server):
    monkeypatch.setenv("PIPELINE_MAIL", "live")
    monkeypatch.setenv("PIPELINE_SMTP_URL", f"smtp://127.0.0.1:1, {smtp_server.url}")
    check = examined()["mail relay"]
    assert check.verdict is Verdict.WARNING
    assert "127.0.0.1:1 cannot be reached" in check.found
    assert f"127.0.0.1:{smtp_server.port} answers" in check.found

    monkeypatch.setenv("PIPELINE_SMTP_URL", "smtp://127.0.0.1:1")
    assert examined()["mail relay"].verdict is Verdict.FAULT
