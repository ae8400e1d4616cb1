"""Sources over PostgreSQL: a read-only session on a real server, streamed, with its errors in sentences."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from pipeline.adapters import datasets, sources
from pipeline.errors import PermanentError, TransientError
from pipeline.report import Source
from pipeline.timing import Period, period

pytestmark = pytest.mark.postgresql

WEEK = period("last_week", datetime(2026, 11, 16, 6, tzinfo=UTC), "Europe/Berlin")
SHIPMENTS = """
create table shipments (
    id int primary key, at timestamptz, wall timestamp, day date, price numeric(10, 2), weight float8, late bool,
    tags text[], data jsonb, key uuid, takes interval
);
insert into shipments values
    (1, '2026-11-08 22:59:59+00', '2026-11-08 23:59:59', '2026-11-08', 1.10, 0.5, false, '{}', 'null', null, null),
    (2, '2026-11-09 00:00:00+01', '2026-11-09 00:00:00', '2026-11-09', 22.20, 1.5, true, '{a,b}', '{"a": 1}',
     '00000000-0000-0000-0000-000000000001', '1 hour'),
    (3, '2026-11-15 22:59:59+00', '2026-11-15 23:59:59', '2026-11-15', null, null, null, null, null, null, null),
    (4, '2026-11-15 23:00:00+00', '2026-11-16 00:00:00', '2026-11-16', 0, 0, false, '{}', '{}', null, null);
"""


@pytest.fixture
def connect(postgresql_url: str) -> Callable[[], psycopg.Connection[Any]]:
    url = make_url(postgresql_url)
    return lambda: psycopg.connect(host=url.query["host"], user="postgres", dbname=url.database, autocommit=True)


@pytest.fixture
def fetch(postgresql_url: str, tmp_path: Path, connect):
    with connect() as connection:
        connection.execute(SHIPMENTS)

    def fetch_query(
        sql: str, *, kind: str = "utc", during: Period = WEEK, timeout: float = 30, url: str = postgresql_url,
        on_progress=None, **parameters: Any,
    ) -> list[dict[str, Any]]:  # fmt: skip
        path = tmp_path / "rows.parquet"
        sources.fetch(
            Source(database="warehouse", sql=sql, time=kind), name="shipments", period=during, parameters=parameters,
            destination=path, home=tmp_path, database_url=lambda _: url, timeout=timeout, max_bytes=1,
            on_progress=on_progress,
        )  # fmt: skip
        return [dict(row) for row in datasets.rows(path)]

    return fetch_query


@pytest.mark.parametrize(("kind", "column"), [("utc", "at"), ("naive_local", "wall"), ("date", "day")])
def test_the_week_is_the_same_whatever_the_column(fetch, connect, kind, column):
    # Whatever zone the server thinks it is in.
    with connect() as connection:
        database = connection.info.dbname
        connection.execute(f"alter database {database} set timezone to 'America/New_York'")
    sql = f"select id from shipments where {column} >= :start and {column} < :end order by id"
    assert [row["id"] for row in fetch(sql, kind=kind)] == [2, 3]


def test_utc_columns_without_a_zone_are_given_utc(fetch):
    sql = "select id from shipments where at at time zone 'UTC' >= :start and at at time zone 'UTC' < :end order by id"
    assert [row["id"] for row in fetch(sql, kind="naive_utc")] == [2, 3]


def test_values_come_with_their_types(fetch):
    row = fetch("select * from shipments where id = 2", kind="naive_local")[0]
    assert row == {
        "id": 2, "at": datetime(2026, 11, 8, 23, tzinfo=UTC), "wall": datetime(2026, 11, 8, 23, tzinfo=UTC),
        "day": date(2026, 11, 9), "price": Decimal("22.20"), "weight": 1.5, "late": True, "tags": '["a", "b"]',
        "data": '{"a": 1}', "key": "00000000-0000-0000-0000-000000000001", "takes": "1:00:00",
    }  # fmt: skip
    assert str(row["price"]) == "22.20"
    assert fetch("select avg(price) as mean, sum(id) as ids, count(*) from shipments")[0] == {
        "mean": Decimal("7.7666666666666667"), "ids": 10, "count": 4,
    }  # fmt: skip


def test_an_instant_that_python_cannot_hold_is_said(fetch):
    with pytest.raises(PermanentError, match="timestamp too large"):
        fetch("select 'infinity'::timestamptz as at")


def test_dates_in_text_stay_text_where_the_database_has_dates(fetch):
    assert fetch("select '2026-11-16' as text") == [{"text": "2026-11-16"}]


def test_the_same_text_runs_in_psql(fetch):
    sql = """
    -- it's the week: 12:30
    select :start::date as first, :end::timestamptz::date as after, ':start' as quoted, $$:end$$ as dollars,
           '{1,2,3}'::int[] as list, 10 % 3 as rest, 'a%' like 'a%' as "100%"
    where :region is null or 'eu' = :region;
    """
    with_region = fetch(sql, region="eu", kind="date")
    assert with_region == fetch(sql, region=None, kind="date") == [
        {"first": date(2026, 11, 9), "after": date(2026, 11, 16), "quoted": ":start", "dollars": ":end",
         "list": "[1, 2, 3]", "rest": 1, "100%": True}
    ]  # fmt: skip
    assert fetch(sql, region="us", kind="date") == []


def test_parameters_fit_the_columns_they_are_compared_with(fetch):
    sql = "select id from shipments where id = :id and day = :day and late = :late and price > :least and key = :key"
    values = {"day": "2026-11-09", "late": True, "least": 5, "key": "00000000-0000-0000-0000-000000000001"}
    assert fetch(sql, id=2, **values) == fetch(sql, id="2", **values) == [{"id": 2}]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("delete from shipments", 'syntax error at or near "delete"'),
        ("with gone as (delete from shipments returning *) select * from gone", "data-modifying statement"),
        ("select setval('s', 5)", "cannot execute setval() in a read-only transaction"),
        ("select 1; drop table shipments", "cannot insert multiple commands"),
        ("select pg_temp.write()", "cannot execute DELETE in a read-only transaction"),
    ],
)
def test_a_source_cannot_write(fetch, connect, sql, sentence):
    with connect() as connection:
        connection.execute("create sequence s")
        connection.execute(
            "create function public.wipe() returns int language sql as 'delete from shipments; select 1'"
        )
    with pytest.raises(PermanentError) as refused:
        fetch(sql.replace("pg_temp.write", "wipe"))
    assert sentence in str(refused.value)
    with connect() as connection:
        assert connection.execute("select count(*) from shipments").fetchone() == (4,)


def test_wrong_sql_is_told_with_its_line_and_the_servers_hint(fetch):
    with pytest.raises(PermanentError) as refused:
        fetch("select id,\n  :start as first,\n  wehgt\nfrom shipments\nwhere at >= :start")
    assert str(refused.value) == (
        'source "shipments" (database "warehouse"): column "wehgt" does not exist; '
        'Perhaps you meant to reference the column "shipments.weight", at line 3: wehgt'
    )
    with pytest.raises(PermanentError, match=r'relation "shipmants" does not exist, at line 2: from shipmants where'):
        fetch("select id, '%' as percent, :a as a, :b as b, :a as c\nfrom shipmants where at >= :end", a="x", b=1)


def test_a_query_past_its_time_is_ended_and_may_be_tried_again(fetch):
    with pytest.raises(
        TransientError, match=r"the database did not answer in time .*PIPELINE_SOURCE_TIMEOUT is the limit"
    ):
        fetch("select pg_sleep(30)", timeout=0.3)


def test_a_server_that_shuts_the_connection_may_be_tried_again(fetch, connect):
    def end(rows):
        with connect() as connection:
            others = "datname = current_database() and pid <> pg_backend_pid()"
            connection.execute(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {others}")

    with pytest.raises(
        TransientError, match=r'\(database "warehouse"\): (terminating connection|.*closed the connection)'
    ):
        fetch("select * from generate_series(1, 1000000)", on_progress=end)


def test_a_lock_that_takes_too_long_may_be_tried_again(fetch, connect):
    with connect() as connection, connection.transaction():
        connection.execute("lock table shipments")
        with pytest.raises(TransientError, match="did not answer in time"):
            fetch("select * from shipments", timeout=0.3)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"database": "nowhere"}, PermanentError, 'database "nowhere" does not exist'),
        ({"username": "nobody"}, PermanentError, 'role "nobody" does not exist'),
        ({"query": {"host": "/nowhere"}}, TransientError, "No such file or directory"),
    ],
)
def test_who_cannot_connect_is_told_why_without_the_password(fetch, postgresql_url, change, error, sentence):
    url = make_url(postgresql_url).set(password="s3cret", **change)
    with pytest.raises(error) as failed:
        fetch("select 1", url=url.render_as_string(hide_password=False))
    assert sentence in str(failed.value)
    assert "s3cret" not in str(failed.value)


def test_rows_are_streamed_not_gathered(fetch):
    """The first rows are there long before the last are made, and stopping early costs nothing."""

    class EnoughError(Exception):
        pass

    def stop(rows):
        raise EnoughError

    with pytest.raises(EnoughError):
        fetch(
            "select i, pg_sleep(case when i > 1000 then 1 else 0 end) from generate_series(1, 100000) i",
            on_progress=stop,
        )


def test_many_rows_with_growing_decimals_and_late_text_arrive_whole(fetch):
    rows = fetch(
        "select i, (i / 3.0)::numeric(20, 2) as price, case when i > 29999 then 'late' end as note,"
        " round(i / 7.0, i / 10000) as share from generate_series(1, 30000) i"
    )
    assert len(rows) == 30_000
    assert rows[-1] == {"i": 30000, "price": Decimal("10000.00"), "note": "late", "share": Decimal("4285.714")}
    assert rows[0]["note"] is None


def test_the_session_is_gone_when_the_fetch_is_over(fetch, connect):
    threads = set(threading.enumerate())
    fetch("select 1 as a")
    with connect() as connection:
        count = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        deadline = time.monotonic() + 60
        while connection.execute(count).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert set(threading.enumerate()) <= threads


def test_a_column_of_dates_that_is_compared_with_instants_is_told(fetch, postgresql_url, tmp_path):
    def told(sql: str, **fields: str) -> str | None:
        source = Source(database="warehouse", sql=sql, **fields)
        return sources.shifted(source, home=tmp_path, database_url=lambda _: postgresql_url)

    for sql in ("select * from Shipments s where s.Day >= :start", "select 1 from public.shipments where :end > day"):
        assert told(sql).startswith('"day" holds days, and :start and :end are instants')
        assert told(sql, time="naive_local") is None
    assert told("select * from shipments where at >= :start and wall < :end") is None
