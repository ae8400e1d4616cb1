"""Sources over SQL: what is bound, what is refused, and that nothing can be written (on SQLite)."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.errors import PermanentError, TransientError

NUMBERS = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "

SHIPMENTS = """
create table shipments (customer_id integer, delivered_at text, weight real, note text);
insert into shipments values
    (1, '2026-11-08 22:59:59', 1.5, 'the second before'),
    (1, '2026-11-08 23:00:00', 2.5, 'the first'),
    (2, '2026-11-15 22:59:59.999000', 3.5, 'the last'),
    (2, '2026-11-15 23:00:00', 4.5, 'the next week');
"""


def test_a_query_sees_its_period_and_nothing_else(fetch, warehouse):
    warehouse(SHIPMENTS)
    found = fetch({"sql": "select * from shipments where delivered_at >= :start and delivered_at < :end"})
    assert found.column("note") == ["the first", "the last"]
    assert found.dataset.rows == 2
    assert found.dataset.bytes == found.path.stat().st_size
    assert found.dataset.columns == ("customer_id", "delivered_at", "weight", "note")
    assert found.dataset.bound == {"start": "2026-11-08T23:00:00Z", "end": "2026-11-15T23:00:00Z"}


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        ("utc", "2026-11-08 23:00:00", "2026-11-15 23:00:00"),
        ("naive_utc", "2026-11-08 23:00:00", "2026-11-15 23:00:00"),
        ("naive_local", "2026-11-09 00:00:00", "2026-11-16 00:00:00"),
        ("date", "2026-11-09", "2026-11-16"),
    ],
)
def test_the_time_of_the_source_says_what_start_and_end_are(fetch, warehouse, kind, start, end):
    # Joined to text, so that it comes back as SQLite was given it.
    found = fetch({"sql": "select 'x' || :start as start, 'x' || :end as end", "time": kind})
    assert found.rows == [{"start": f"x{start}", "end": f"x{end}"}]


def test_dates_are_local_and_parameters_are_bound_as_they_are(fetch, warehouse):
    found = fetch(
        {"sql": "select :start_date as first, :end_date as after, :region as region, :least as least, :none as empty"},
        region="it's; drop table shipments", least=3, none=None, unused="is not bound",
    )  # fmt: skip
    assert found.rows == [
        {"first": date(2026, 11, 9), "after": date(2026, 11, 16), "region": "it's; drop table shipments", "least": 3,
         "empty": None}
    ]  # fmt: skip
    assert found.dataset.bound == {
        "start_date": "2026-11-09", "end_date": "2026-11-16", "region": "it's; drop table shipments", "least": "3",
        "none": "NULL",
    }  # fmt: skip


def test_a_parameter_that_does_not_exist_is_refused_before_anything_runs(fetch):
    with pytest.raises(PermanentError) as refused:
        fetch({"sql": "select * from nowhere where at >= :strat and region = :region"}, region="eu")
    assert str(refused.value) == (
        'source "shipments": :strat is not known: '
        "there are start, end, start_date, end_date, region; did you mean start?"
    )


def test_a_parameter_cannot_take_the_periods_name(fetch):
    with pytest.raises(PermanentError, match="end is the period's: give the parameter another name"):
        fetch({"sql": "select :end"}, end="2026-01-01")


def test_a_colon_in_quotes_and_comments_is_a_colon(fetch, warehouse):
    sql = """
    -- at 12:30, or :later
    select 'a :start b''s :end' as quoted, ":not" as named, /* :never
    */ 5 as ":five" from (select 1 as ":not"); -- the end; of :it
    """
    assert fetch({"sql": sql}).rows == [{"quoted": "a :start b's :end", "named": 1, ":five": 5}]


def test_wrong_sql_is_permanent_and_names_the_source_and_the_database(fetch, warehouse):
    with pytest.raises(PermanentError) as refused:
        fetch({"sql": "select * from shipmants"})
    assert str(refused.value) == 'source "shipments" (database "warehouse"): no such table: shipmants'


@pytest.mark.parametrize(
    "sql",
    [
        "delete from shipments",
        "drop table shipments",
        "insert into shipments (customer_id) values (1) returning customer_id",
        "create table own (a)",
    ],
)
def test_a_source_cannot_write(fetch, warehouse, tmp_path: Path, sql):
    warehouse(SHIPMENTS)
    before = (tmp_path / "warehouse.db").read_bytes()
    with pytest.raises(PermanentError, match="readonly database"):
        fetch({"sql": sql})
    assert (tmp_path / "warehouse.db").read_bytes() == before


def test_a_statement_without_rows_is_refused(fetch, warehouse):
    with pytest.raises(PermanentError, match="the query returns no rows: a source needs a SELECT"):
        fetch({"sql": "attach ':memory:' as other"})


def test_two_columns_of_one_name_are_refused(fetch, warehouse):
    with pytest.raises(PermanentError, match="more than one column is named a, b: tell them apart with AS"):
        fetch({"sql": "select 1 as a, 2 as b, 3 as a, 4 as b, 5 as c"})


def test_no_rows_still_have_their_columns(fetch, warehouse):
    warehouse(SHIPMENTS)
    found = fetch({"sql": "select customer_id, note from shipments where 0"})
    assert found.dataset.columns == ("customer_id", "note")
    assert found.dataset.rows == 0
    assert found.rows == []


def test_a_query_past_its_time_is_ended_and_may_be_tried_again(fetch, warehouse):
    with pytest.raises(TransientError, match=r'\(database "warehouse"\): the database did not answer in time'):
        fetch({"sql": NUMBERS.format(1_000_000_000) + "select count(*) from n"}, timeout=0.3)


def test_a_locked_database_may_be_tried_again(fetch, warehouse, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("pipeline.adapters.sources.dialects._CONNECT", 0.05)
    warehouse(SHIPMENTS)
    writer = sqlite3.connect(tmp_path / "warehouse.db", isolation_level=None)
    writer.execute("begin exclusive")
    try:
        with pytest.raises(TransientError, match="database is locked"):
            fetch({"sql": "select * from shipments"})
    finally:
        writer.close()


def test_reading_goes_on_beside_a_writer(fetch, warehouse, tmp_path: Path):
    warehouse("pragma journal_mode = wal;" + SHIPMENTS)
    writer = sqlite3.connect(tmp_path / "warehouse.db", isolation_level=None)
    writer.execute("begin immediate")
    writer.execute("insert into shipments (customer_id) values (99)")
    assert len(fetch({"sql": "select * from shipments"}).rows) == 4
    writer.close()


def test_progress_is_told_and_can_stop_the_fetch(fetch, warehouse, tmp_path: Path):
    seen: list[int] = []
    fetch({"sql": NUMBERS.format(30_000) + "select i from n"}, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 30_000
    assert len(seen) > 3

    class CancelledError(Exception):
        pass

    def cancel(rows):
        if rows > 1_000:
            raise CancelledError

    (tmp_path / "datasets" / "rows.parquet").unlink()
    with pytest.raises(CancelledError):
        fetch({"sql": NUMBERS.format(1_000_000_000) + "select i from n"}, on_progress=cancel)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_a_failed_fetch_leaves_the_earlier_dataset_alone(fetch, warehouse, tmp_path: Path):
    found = fetch({"sql": "select 1 as a"})
    with pytest.raises(PermanentError):
        fetch({"sql": NUMBERS.format(20_000) + "select case when i < 20000 then i else x'00' end as a from n"})
    assert found.rows == [{"a": 1}]
    assert [path.name for path in found.path.parent.iterdir()] == ["rows.parquet"]


def test_a_full_disk_is_said_plainly_and_may_pass(fetch, warehouse):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Stands for a full disk: the same error, one number apart.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(TransientError, match='source "shipments": no room left for its rows in '):
            fetch({"sql": NUMBERS.format(10_000) + "select hex(randomblob(100)) as noise from n"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("mysql+pymysql://u:secret@db/x", "pip install pymysql"),
        ("mssql://u:secret@db/x", "pip install pyodbc"),
        ("oracle+oracledb://u:secret@db/x", "pip install oracledb"),
        ("snowflake://u:secret@account/x", "pip install snowflake-sqlalchemy"),
        ("postgresql+psycopg2://u:secret@db/x", "pip install psycopg2-binary"),
        ("trino://u@db/x", "pip install 'trino[sqlalchemy]'"),
        ("nosuch://u:secret@db/x", "install the package with SQLAlchemy's dialect nosuch"),
    ],
)
def test_a_missing_driver_is_answered_with_the_command_that_installs_it(fetch, url, command):
    with pytest.raises(PermanentError) as refused:
        fetch({"sql": "select 1"}, url=url)
    assert command in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("not a url with secret", "its URL must look like postgresql://user:password@host/database"),
        ("sqlite://", "its URL names no file"),
        ("sqlite:///missing.db", "missing.db does not exist"),
        ("sqlite+aiosqlite:///x.db", "aiosqlite"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(fetch, tmp_path: Path, url, sentence):
    with pytest.raises(PermanentError, match=sentence) as refused:
        fetch({"sql": "select 1"}, url=url)
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "missing.db").exists()


def test_a_server_that_is_not_there_may_come_back(fetch):
    with pytest.raises(TransientError) as failed:
        fetch({"sql": "select 1"}, url="postgres://someone:secret@127.0.0.1:1/x")
    assert "refused" in str(failed.value)
    assert "secret" not in str(failed.value)


def test_a_source_may_be_fetched_in_any_thread(fetch, warehouse):
    found = []
    thread = threading.Thread(target=lambda: found.append(fetch({"sql": "select 1 as a"})))
    thread.start()
    thread.join()
    assert found[0].rows == [{"a": 1}]


def test_instants_in_text_come_back_as_instants(fetch, warehouse):
    warehouse(SHIPMENTS)
    sql = "select delivered_at as at from shipments where length(delivered_at) = 19 order by 1"
    assert fetch({"sql": sql}).column("at")[0] == datetime(2026, 11, 8, 22, 59, 59, tzinfo=UTC)
    local = fetch({"sql": sql, "time": "naive_local"}).column("at")[0]
    assert local == datetime(2026, 11, 8, 21, 59, 59, tzinfo=UTC)
