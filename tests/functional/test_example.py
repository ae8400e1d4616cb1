"""The example's database: all of the real data, built once, whoever asks and however many at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline import example
from pipeline.errors import DefinitionError, PermanentError, Refused

BUILD = "import sys, pathlib, pipeline.example as e; print(e.ensure_database(pathlib.Path(sys.argv[1])))"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The database that two processes built at once, and what each of them answered."""
    path = tmp_path_factory.mktemp("example") / "flights.db"
    command = [sys.executable, "-c", BUILD, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return path, [process.communicate(timeout=110)[0].strip() for process in processes]


@pytest.fixture
def database(built: tuple[Path, list[str]]) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(built[0])) as connection:
        yield connection


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same data with a hundred flights only, so that a build takes no time."""
    from pyarrow import parquet

    folder = tmp_path / "data"
    folder.mkdir()
    for path in example.DATA.glob("*.parquet"):
        parquet.write_table(parquet.read_table(path).slice(0, 100), folder / path.name)
    monkeypatch.setattr(example, "DATA", folder)
    return folder


def one(database: sqlite3.Connection, query: str) -> object:
    row = database.execute(query).fetchone()
    return row[0] if len(row) == 1 else row


def column(database: sqlite3.Connection, query: str) -> list[object]:
    return [value for (value,) in database.execute(query)]


def test_two_processes_at_once_leave_one_good_database(built, database):
    path, answers = built
    assert sorted(answers) == ["False", "True"]
    assert one(database, "pragma quick_check") == "ok"
    assert sorted(file.name for file in path.parent.iterdir()) == ["flights.db", "flights.db.lock"]


def test_a_second_call_does_nothing(built):
    path = built[0]
    before = path.stat()
    assert example.ensure_database(path) is False
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_every_flight_is_there_with_what_it_splits_by(database):
    query = "select count(*), count(distinct carrier), count(distinct dest), count(distinct tailnum) from flights"
    assert one(database, query) == (336_776, 16, 105, 4_043)
    assert one(database, "select count(*) from airlines") == 16
    assert one(database, "select count(*) from planes") == 3_322


def test_what_the_source_does_not_know_is_null(database):
    counts = [f"sum({name} is null)" for name in ("dep_delay", "arr_delay", "air_time", "tailnum")]
    assert one(database, f"select sum(cancelled), {', '.join(counts)} from flights") == (
        8_255,
        8_255,
        9_430,
        9_430,
        2_512,
    )
    assert one(database, "select count(*) from flights where cancelled and dep_delay is not null") == 0
    assert one(database, "select count(*) from planes where year is null") == 70
    lost = "select distinct dest from flights where dest not in (select faa from airports) order by 1"
    assert column(database, lost) == ["BQN", "PSE", "SJU", "STT"]


def test_the_first_flight_reads_as_in_the_source(database):
    assert database.execute("select * from flights where id = 1").fetchone() == (
        1, "2013-01-01 10:00:00", "2013-01-01", 515, 2, 11, 0, "UA", 1545, "N14228", "EWR", "IAH", 227, 1400,
    )  # fmt: skip


def test_six_in_the_morning_is_an_hour_earlier_in_utc_once_the_clocks_went_forward(database):
    query = "select distinct time_hour from flights where sched_dep_time = 600 and day between {} order by 1"
    assert column(database, query.format("'2013-03-09' and '2013-03-10'")) == [
        "2013-03-09 11:00:00",
        "2013-03-10 10:00:00",
    ]
    assert column(database, query.format("'2013-11-02' and '2013-11-03'")) == [
        "2013-11-02 10:00:00",
        "2013-11-03 11:00:00",
    ]


def test_new_year_in_utc_is_still_the_old_year_in_new_york(database):
    assert one(database, "select max(time_hour), max(day) from flights") == ("2014-01-01 04:00:00", "2013-12-31")


def test_contacts_go_to_reserved_domains_only_and_no_address_comes_twice(database):
    assert one(database, "select count(*) - count(distinct email) from contacts") == 0
    assert one(database, "select count(*) from contacts where email not glob '*@*.example' "
                         "and email not glob '*@example.com'") == 0  # fmt: skip
    assert "ops@9e.example" in column(database, "select email from contacts where key = '9E'")
    assert column(database, "select email from contacts where key = 'N10156'") == ["fleet+n10156@example.com"]
    assert "José Ñandú" in column(database, "select name from contacts")


@pytest.mark.parametrize(
    ("kind", "split_by", "expected", "inactive"),
    [
        ("carrier", "carrier", ([], ["XE"]), 2),
        ("destination", "dest", (["CAE"], []), 0),
        ("aircraft", "tailnum", ([], []), 4),
    ],
)
def test_as_in_life_some_contacts_are_missing_left_over_or_gone(database, kind, split_by, expected, inactive):
    keys = set(column(database, f"select distinct {split_by} from flights where {split_by} is not null"))
    contacts = set(column(database, f"select key from contacts where kind = '{kind}'"))
    assert (sorted(keys - contacts), sorted(contacts - keys)) == expected
    assert one(database, f"select count(*) from contacts where kind = '{kind}' and not active") == inactive


def test_an_example_period_has_every_carrier_and_the_destination_without_contact(database):
    week = "from flights where day >= '2013-09-09' and day < '2013-09-16'"
    assert one(database, f"select count(distinct carrier), sum(dest = 'CAE') {week}") == (16, 2)


def test_a_query_by_period_key_or_destination_uses_an_index(database):
    for name in ("time_hour", "tailnum", "carrier", "dest"):
        plan = database.execute(f"explain query plan select * from flights where {name} = 'x'").fetchone()
        assert f"flights_{name}" in plan[-1]


@pytest.mark.usefixtures("few")
def test_an_empty_file_and_an_older_version_are_replaced(tmp_path, monkeypatch):
    path = tmp_path / "new" / "flights.db"
    path.parent.mkdir()
    path.touch()  # what a client leaves that connected too early
    assert example.ensure_database(path) is True
    monkeypatch.setattr(example, "VERSION", example.VERSION + 1)
    assert example.ensure_database(path) is True
    assert example.ensure_database(path) is False


def test_a_file_that_is_not_ours_is_left_alone(tmp_path):
    database, text = tmp_path / "theirs.db", tmp_path / "notes.txt"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("create table precious (id integer)")
    text.write_text("Buy milk. " * 100)
    for path in (database, text):
        before = path.read_bytes()
        with pytest.raises(Refused, match=f"{path.name}: not the example database; move it away"):
            example.ensure_database(path)
        assert path.read_bytes() == before


def test_a_build_that_fails_leaves_nothing_behind_and_the_next_one_succeeds(tmp_path, few):
    path, planes = tmp_path / "new" / "flights.db", (few / "planes.parquet").read_bytes()
    (few / "planes.parquet").write_bytes(planes[:1000])
    with pytest.raises(Exception, match="Parquet"):
        example.ensure_database(path)
    assert [file.name for file in path.parent.iterdir()] == ["flights.db.lock"]
    (few / "planes.parquet").write_bytes(planes)
    assert example.ensure_database(path) is True


def test_without_the_repository_the_error_says_where_the_data_would_be(tmp_path, monkeypatch):
    monkeypatch.setattr(example, "DATA", tmp_path / "nowhere")
    with pytest.raises(PermanentError, match="nowhere: the example's data is missing; it comes with a clone"):
        example.ensure_database(tmp_path / "flights.db")


def test_the_module_is_light_and_the_committed_files_stay_small():
    code = "import sys, pipeline.example; print('pyarrow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    assert sum(path.stat().st_size for path in example.DATA.iterdir() if path.is_file()) < 3_000_000


@pytest.fixture
def clone(home: Path, few: Path) -> Path:
    """A home that has the example's data, as a clone of the repository does."""
    (home / "examples").mkdir()
    (home / "examples" / "nycflights13").symlink_to(few)
    return home


def test_a_clone_knows_the_database_of_its_example_without_any_configuration(clone):
    assert example.source_url("flights") == f"sqlite:///{clone}/var/example/flights.db"
    with closing(sqlite3.connect(clone / "var" / "example" / "flights.db")) as connection:
        assert one(connection, "select count(*) from flights") == 100


def test_a_url_of_your_own_wins_and_builds_nothing(clone, monkeypatch):
    monkeypatch.setenv("PIPELINE_SOURCE_FLIGHTS_URL", "postgresql://reader@warehouse/flights")
    assert example.source_url("flights") == "postgresql://reader@warehouse/flights"
    assert not (clone / "var").exists()


@pytest.mark.usefixtures("home")
def test_elsewhere_there_is_no_such_database():
    with pytest.raises(DefinitionError, match='database "flights" is not known: set PIPELINE_SOURCE_FLIGHTS_URL'):
        example.source_url("flights")
