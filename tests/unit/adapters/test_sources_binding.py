"""What queries and addresses may name, found without running anything."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.adapters.sources import check_names, names_in
from pipeline.adapters.sources.binding import Statement, filled, values_of
from pipeline.adapters.sources.dialects import bound, connect_arguments, preparation
from pipeline.errors import PermanentError
from pipeline.report import Source
from pipeline.timing import period

WEEK = period("last_week", datetime(2026, 11, 16, 6, tzinfo=UTC), "Europe/Berlin")


@pytest.mark.parametrize(
    ("sql", "text", "names"),
    [
        ("a = :start", "a = :start", {"start"}),
        ("a >= :start::date", "a >= (:start)::date", {"start"}),
        ("a::date >= :start", "a::date >= :start", {"start"}),
        ("a::timestamp::date", "a::timestamp::date", set()),
        ("list[1:2], '12:30'", "list[1:2], '12:30'", set()),
        ("':start' :end", r"'\:start' :end", {"end"}),
        ("'it''s :start' :end", r"'it''s \:start' :end", {"end"}),
        (r"E'it\'s :start' :end", r"E'it\'s \:start' :end", {"end"}),
        ("$$ :start $$ :end", r"$$ \:start $$ :end", {"end"}),
        ("$a$ $$ :start $a$ :end", r"$a$ $$ \:start $a$ :end", {"end"}),
        ("-- :start\n:end", "-- \\:start\n:end", {"end"}),
        ("/* :start\n */ :end", "/* \\:start\n */ :end", {"end"}),
        ('":start" :end', r'"\:start" :end', {"end"}),
        ("`:start` :end", r"`\:start` :end", {"end"}),
        (r"a \:start", r"a \:start", set()),
        ("select 1;\n", "select 1", set()),
    ],
)
def test_names_are_found_where_psql_would_find_them(sql, text, names):
    assert Statement.parse(sql) == Statement(text, frozenset(names))


def test_a_query_or_address_can_be_checked_without_running_it():
    query = Source(database="w", sql="select :start, :region")
    address = Source(url="https://example.org/{start}/{region}")
    assert names_in(query) == names_in(address) == {"start", "region"}
    for source in (query, address):
        check_names(source, name="rows", parameters={"region": 1})
    with pytest.raises(
        PermanentError, match=r'source "rows": :region is not known: there are .*, religion; did you mean'
    ):
        check_names(query, name="rows", parameters=["religion"])
    with pytest.raises(PermanentError, match=r"\{region\} is not known: there are start, end, start_date, end_date$"):
        check_names(address, name="rows", parameters=[])


@pytest.mark.parametrize(
    ("time", "written"),
    [
        ("utc", "2026-11-08T23%3A00%3A00Z"),
        ("naive_utc", "2026-11-08T23%3A00%3A00"),
        ("naive_local", "2026-11-09T00%3A00%3A00"),
        ("date", "2026-11-09"),
    ],
)
def test_an_address_is_given_iso_8601(time, written):
    from urllib.parse import quote

    source = Source(url="https://x/?from={start}", time=time)
    values = values_of(source, WEEK, {})
    assert filled(str(source.url), values, lambda value: quote(value, safe="")) == f"https://x/?from={written}"


def test_drivers_that_drop_the_zone_are_given_utc():
    start = {"start": datetime(2026, 11, 9, tzinfo=WEEK.local_start.tzinfo)}
    assert bound("postgresql", start) == start
    for dialect in ("mysql", "mariadb", "mssql", "oracle"):
        assert bound(dialect, start) == {"start": datetime.fromisoformat("2026-11-08 23:00")}
    assert bound("sqlite", {"at": datetime(2026, 11, 8, 23, 0, 0, 500, tzinfo=UTC)}) == {
        "at": "2026-11-08 23:00:00.000500"
    }


def test_sessions_are_read_only_and_limited_where_the_database_can():
    assert preparation("postgresql", 1.5) == ["SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = 1500"]
    assert preparation("mysql", 1.5)[0] == "SET SESSION max_execution_time = 1500"
    assert preparation("mariadb", 1.5, mariadb=True)[0] == "SET SESSION max_statement_time = 1.5"
    assert preparation("mysql", 1)[-1] == "START TRANSACTION READ ONLY"
    assert preparation("oracle", 1) == ["SET TRANSACTION READ ONLY"]
    assert preparation("mssql", 1) == []
    assert connect_arguments("mysql+pymysql", 10)["read_timeout"] == 25
