"""A home is read file by file: queries are written out, names looked up, and no bad file hides the others."""

from __future__ import annotations

import json
import os
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline import __version__, schedule, timing
from pipeline.adapters import home as homes
from pipeline.adapters.reading import Reader
from pipeline.errors import DefinitionError

SHIPMENTS = """
    report:
      title: Your shipments
      database: warehouse
      sql: shipments.sql
      split_by: customer
    when: "0 7 * * mon"
    recipients: {database: warehouse, query: people.sql}
"""


@pytest.fixture
def write(tmp_path):
    """Write files of a home by their paths and load it."""

    def write(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(textwrap.dedent(text))
        return homes.load(tmp_path)

    return write


def only_error(loaded):
    (error,) = loaded.errors.values()
    return str(error)


def yaml_error(write, text):
    return only_error(write({"schedules/weekly.yaml": text})).removeprefix("schedules/weekly.yaml: ")


ALIASES_OF_ALIASES = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]
)
FILES = {
    "schedules/shipments.yaml": SHIPMENTS,
    "schedules/shipments.sql": "select * from shipments where day >= :start",
    "schedules/people.sql": "select email, customer as key from people",
}


# ---- reading


def test_queries_are_written_out_and_the_report_is_named_after_its_file(write):
    loaded = write(FILES)

    (file,) = loaded.files.values()
    assert (file.key, file.place) == ("shipments", "schedules/shipments.yaml")
    assert file.definition["report"]["name"] == "shipments"
    assert file.definition["report"]["sql"] == "select * from shipments where day >= :start"
    assert file.schedule.recipients.source.sql == "select email, customer as key from people"


def test_the_revision_changes_with_the_file_and_with_its_query(write):
    first = write(FILES).files["shipments"].revision
    assert write(FILES).files["shipments"].revision == first

    second = write({"schedules/shipments.sql": "select 2"}).files["shipments"].revision
    third = write({"schedules/shipments.yaml": SHIPMENTS.replace("mon", "tue")}).files["shipments"].revision
    assert len({first, second, third}) == 3


def test_a_query_written_in_the_file_stays(write):
    loaded = write({"schedules/a.yaml": "report: {title: A, database: w, sql: select * from a.sql}"})

    assert loaded.files["a"].schedule.report.sources["rows"].sql == "select * from a.sql"


def test_a_report_may_be_another_files(write):
    other = """
        report: shipments
        when: "0 12 * * *"
        recipients: [{email: boss@x.example, key: ACME}]
    """
    loaded = write({**FILES, "schedules/shipments_noon.yaml": other})

    report = loaded.files["shipments_noon"].schedule.report
    assert (report.name, report.title) == ("shipments", "Your shipments")
    assert report == loaded.files["shipments"].schedule.report


CLOSED = """
    report: {title: A, database: w, sql: select 1}
    when: {cron: "0 7 * * *", except_on: [holidays:DE, closed.txt]}
"""


def test_the_dates_of_a_list_are_part_of_the_revision(write):
    files = {"schedules/a.yaml": CLOSED, "schedules/closed.txt": "2026-12-24  # Christmas Eve\n"}
    loaded = write(files)
    first = loaded.files["a"]
    assert {Path(name).name for name in loaded.stamps} == {"a.yaml", "closed.txt"}
    assert first.definition["when"]["except_on"] == [
        "holidays:DE",
        {"file": "closed.txt", "dates": "2026-12-24  # Christmas Eve\n"},
    ]
    eve = datetime(2026, 12, 23, 12, tzinfo=UTC)
    assert timing.next_after(first.schedule.when.spec("UTC"), "UTC", eve) == datetime(2026, 12, 27, 7, tzinfo=UTC)

    second = write({"schedules/closed.txt": "2026-12-24\n2026-12-27\n"}).files["a"]
    assert second.revision != first.revision
    assert timing.next_after(second.schedule.when.spec("UTC"), "UTC", eve) == datetime(2026, 12, 28, 7, tzinfo=UTC)
    # What is stored is read back as it is.
    assert schedule.parse(json.loads(json.dumps(second.definition)), "a") == second.schedule


@pytest.mark.parametrize("written", ["../calendars/closed.txt", "{file: ../calendars/closed.txt}", "[{file: closed}]"])
def test_a_list_of_dates_may_lie_elsewhere_in_the_home(write, written):
    files = {"schedules/closed": "2026-12-24", "calendars/closed.txt": "\ufeff2026-12-24"}
    loaded = write({**files, "schedules/a.yaml": CLOSED.replace("[holidays:DE, closed.txt]", written)})
    assert loaded.files["a"].schedule.when.except_on[0]["dates"].endswith("2026-12-24")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("24.12.2026", 'when.except_on "closed.txt" line 1: "24.12.2026" is not a date: write it like 2026-12-24'),
        (None, 'when.except_on "closed.txt" cannot be read: put it beside schedules/a.yaml'),
    ],
)
def test_a_wrong_list_of_dates_is_told_at_its_field(write, text, answer):
    loaded = write({"schedules/a.yaml": CLOSED, **({"schedules/closed.txt": text} if text else {})})
    assert only_error(loaded) == f"schedules/a.yaml: {answer}"


def test_a_home_without_schedules_is_empty(write, tmp_path):
    assert homes.load(tmp_path).files == {}
    assert write({"schedules/notes.txt": "nothing to see", "schedules/.#weekly.yaml": "an editor's"}).errors == {}


def test_words_that_look_like_numbers_and_dates_stay_what_was_written(write):
    text = """
        report: {title: "2013", url: flights.csv, period: 2026-11-16}
        when: {at: 2026-12-01T07:00}
    """
    loaded = write({"schedules/a.yaml": text})

    assert loaded.files["a"].schedule.period_spec == "2026-11-16"
    assert loaded.files["a"].schedule.when.at == ["2026-12-01T07:00"]


def test_parts_may_be_shared_by_anchors(write):
    text = """
        report:
          title: A
          sources:
            now: &source {database: warehouse, sql: select 1}
            before: {<<: *source, sql: select 2}
    """
    loaded = write({"schedules/a.yaml": text})

    assert loaded.files["a"].schedule.report.sources["before"].sql == "select 2"


# ---- what is wrong


def test_a_bad_file_never_hides_the_others(write):
    bad = {"schedules/bad.yaml": "report: {titel: x}", "schedules/worse.yaml": "report: [", "schedules/Odd.yaml": "x"}
    loaded = write({**FILES, **bad})

    assert list(loaded.files) == ["shipments"]
    assert list(loaded.errors) == ["schedules/Odd.yaml", "schedules/worse.yaml", "schedules/bad.yaml"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("report:\n  title: x\n sql: y\n", "line 3, column 2: expected <block end>, but found '<block mapping start>'"),
        ("report:\n\ttitle: x\n", "line 2, column 1: found character '\\t' that cannot start any token"),
        ("when: x\nwhen: y\n", 'line 2, column 1: "when" is given twice'),
        ("report:\n  title: x\n  title: y\n", 'line 3, column 3: "title" is given twice'),
        ("report: {title: a: b}\n", "line 1, column 18: expected ',' or '}', but got ':'"),
        ("? [a]\n: b\n", "line 1, column 3: a name must be a word"),
        ("report: *nowhere\n", "line 1, column 9: found undefined alias"),
        ("report: !!python/object:os.system x\n", "line 1, column 9: could not determine a constructor for the tag"),
        ("title: \x01\n", "holds the character #x0001, which YAML does not allow"),
        ("report: &a {title: x, b: *a}\n", "holds itself: an alias stands inside of its own anchor"),
        ("a: " + "[" * 3000, "is nested too deeply"),
        ("a: !!int soon\n", "holds a value that is none: invalid literal for int()"),
        (ALIASES_OF_ALIASES, "has more than 100,000 values once its aliases are written out"),
        ("- a\n- b\n", "must be a mapping of fields such as report, when, recipients"),
        ("", "must be a mapping of fields such as report, when, recipients"),
    ],
)
def test_what_is_no_yaml_of_a_schedule_names_the_line(write, text, answer):
    assert yaml_error(write, text).startswith(answer)


def test_text_that_is_not_utf_8_is_told(tmp_path):
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "a.yaml").write_bytes(b"description: caf\xe9\n")

    assert only_error(homes.load(tmp_path)) == (
        "schedules/a.yaml: is not UTF-8 text: invalid continuation byte at byte 16"
    )


def test_a_pipe_that_is_called_like_a_file_is_told_and_not_waited_for(tmp_path):
    (tmp_path / "schedules").mkdir()
    os.mkfifo(tmp_path / "schedules" / "a.yaml")

    assert only_error(homes.load(tmp_path)) == (
        "schedules/a.yaml: cannot be read: it is a pipe or a device, and no file"
    )


def test_a_mistake_of_ours_in_one_file_does_not_keep_the_others_from_being_loaded(write, monkeypatch):
    def parse(definition, place):
        if place == "schedules/odd.yaml":
            raise OverflowError("date value out of range")
        return understood(definition, place)

    understood = schedule.parse
    monkeypatch.setattr(schedule, "parse", parse)
    loaded = write({**FILES, "schedules/odd.yaml": "command: [/bin/true]"})

    assert list(loaded.files) == ["shipments"]
    assert only_error(loaded) == "schedules/odd.yaml: cannot be used: OverflowError: date value out of range"


def test_a_folder_that_is_called_like_a_file_is_told(tmp_path):
    (tmp_path / "schedules" / "a.yaml").mkdir(parents=True)

    assert only_error(homes.load(tmp_path)) == "schedules/a.yaml: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("shipment.sql", 'report.sql "shipment.sql" cannot be read: did you mean shipments.sql?'),
        ("zzz.sql", 'report.sql "zzz.sql" cannot be read: put it beside schedules/shipments.yaml'),
        ("../../secrets.sql", 'report.sql "../../secrets.sql" lies outside the home'),
        ("/etc/secrets.sql", 'report.sql "/etc/secrets.sql" lies outside the home'),
    ],
)
def test_a_query_that_is_not_there_is_told(write, query, answer):
    loaded = write({**FILES, "schedules/shipments.yaml": SHIPMENTS.replace("shipments.sql", query)})

    assert only_error(loaded) == f"schedules/shipments.yaml: {answer}"


def test_a_query_of_the_recipients_is_told_at_its_field(write):
    loaded = write({**FILES, "schedules/shipments.yaml": SHIPMENTS.replace("people.sql", "poeple.sql")})

    assert only_error(loaded) == (
        'schedules/shipments.yaml: recipients.query "poeple.sql" cannot be read: did you mean people.sql?'
    )


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("shipment", 'report "shipment" is not a report: did you mean shipments?'),
        ("zzz", 'report "zzz" is not a report: known reports: shipments'),
        ("again", 'report "again" is not a report: known reports: shipments'),
    ],
)
def test_a_report_that_is_no_files_is_told(write, name, answer):
    loaded = write({**FILES, "schedules/again.yaml": f"report: {name}"})

    assert only_error(loaded) == f"schedules/again.yaml: {answer}"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Weekly Report", "weekly_report"),
        ("weekly-report", "weekly_report"),
        ("2026", "schedule_2026"),
        ("Größe", "gr_e"),
    ],
)
def test_a_files_name_is_the_schedules_key(write, name, wanted):
    assert only_error(write({f"schedules/{name}.yaml": "x"})).endswith(f"a letter first; rename it to {wanted}.yaml")


def test_schedules_that_wait_for_each_other_in_a_circle_are_told_and_harm_no_other(write):
    task = "task: myapp.tasks.nightly"
    loaded = write(
        {
            "schedules/a.yaml": f"{task}\nafter: b",
            "schedules/b.yaml": f"{task}\nafter: [a, c]",
            "schedules/c.yaml": task,
            "schedules/d.yaml": f"{task}\nafter: [c, broken]",
            "schedules/e.yaml": f"{task}\nafter: cc",
            "schedules/broken.yaml": "tsk: x",
        }
    )

    assert sorted(loaded.files) == ["c", "d"]
    assert str(loaded.errors["schedules/a.yaml"]) == (
        "schedules/a.yaml: after is a circle in which each waits for the next: a -> b -> a"
    )
    assert str(loaded.errors["schedules/e.yaml"]) == 'schedules/e.yaml: after "cc" is not a schedule: did you mean c?'


def test_two_files_of_one_name_are_both_refused(write):
    loaded = write({f"schedules/{name}": "workflow: x" for name in ("a.yaml", "a.yml", "b.yml")})

    assert list(loaded.files) == ["b"]
    assert {place: str(error) for place, error in loaded.errors.items()} == {
        "schedules/a.yaml": "schedules/a.yaml: schedules/a.yml is called the same, and neither is loaded: "
        "rename or remove one of them",
        "schedules/a.yml": "schedules/a.yml: schedules/a.yaml is called the same, and neither is loaded: "
        "rename or remove one of them",
    }


def test_a_report_in_a_file_that_cannot_be_read_is_not_called_unknown(write):
    loaded = write({"schedules/a.yaml": "report: [", "schedules/b.yaml": "report: a"})

    said = 'schedules/b.yaml: report "a" cannot be read: schedules/a.yaml is wrong'
    assert str(loaded.errors["schedules/b.yaml"]) == said


# ---- reading again


def test_only_what_has_changed_is_read_again(write, tmp_path, monkeypatch):
    write({**FILES, "schedules/other.yaml": "workflow: x"})
    reader, read = Reader(), []
    before = homes.load(tmp_path, reader)
    assert homes.stamps(tmp_path, before.stamps) == before.stamps
    original = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: read.append(path.name) or original(path, **how))
    (tmp_path / "schedules" / "people.sql").write_text("select 'a@x.example' as email")

    assert homes.stamps(tmp_path, before.stamps) != before.stamps
    after = homes.load(tmp_path, reader, before)
    assert read == ["people.sql"]
    assert after.files["other"] is before.files["other"]
    assert after.files["shipments"].schedule.recipients.source.sql == "select 'a@x.example' as email"


def test_a_query_that_is_missing_is_waited_for(write, tmp_path):
    before = write({"schedules/shipments.yaml": SHIPMENTS, "schedules/people.sql": "select 1"})
    assert homes.stamps(tmp_path, before.stamps) == before.stamps
    (tmp_path / "schedules" / "shipments.sql").write_text("select 2")

    assert homes.stamps(tmp_path, before.stamps) != before.stamps


def test_a_mistake_is_told_with_the_file_and_the_field(write):
    loaded = write({**FILES, "schedules/shipments.yaml": SHIPMENTS.replace("title", "titel")})

    assert only_error(loaded).splitlines() == [
        "schedules/shipments.yaml: report.title is missing",
        "schedules/shipments.yaml: report.titel is not a field here: did you mean title?",
    ]


# ---- code


def test_a_report_has_a_build_of_its_own_or_none(write, tmp_path):
    write({"reports/shipments.py": "def build(rows, period): return {'n': len(rows)}"})

    assert homes.build_for(tmp_path, "shipments")([1, 2], None) == {"n": 2}
    assert homes.build_for(tmp_path, "other") is None


def test_a_changed_build_is_read_again(write, tmp_path):
    write({"reports/a.py": "def build(rows, period): return 1"})
    assert homes.build_for(tmp_path, "a")([], None) == 1
    write({"reports/a.py": "def build(rows, period): return 2"})
    os.utime(tmp_path / "reports" / "a.py", ns=(1, 1))

    assert homes.build_for(tmp_path, "a")([], None) == 2


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (
            "import nowhere_at_all",
            "reports/a.py: cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
        ),
        ("def build(:", "reports/a.py: cannot be imported: SyntaxError: "),
        ("1 / 0", "reports/a.py: cannot be imported: ZeroDivisionError: division by zero"),
        ("def biuld(rows, period): pass", "reports/a.py: has no function build(rows, period)"),
        ("build = {}", "reports/a.py: has no function build(rows, period)"),
    ],
)
def test_a_build_that_cannot_be_used_is_told(write, tmp_path, code, answer):
    write({"reports/a.py": code})
    with pytest.raises(DefinitionError) as refused:
        homes.build_for(tmp_path, "a")
    assert str(refused.value).startswith(answer)


def test_the_version_of_the_code_changes_with_the_homes_own_code(write, tmp_path):
    seen = [homes.code_version(tmp_path)]
    for path, text in (("reports/a.py", "x = 1"), ("reports/a.py", "x = 2"), ("workflows/b.py", "x = 1")):
        write({path: text})
        seen.append(homes.code_version(tmp_path))

    assert len(set(seen)) == 4
    assert homes.code_version(tmp_path) == seen[-1]
    assert all(version.startswith(f"{__version__}+") for version in seen)
