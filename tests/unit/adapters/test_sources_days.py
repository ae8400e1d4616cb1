"""Days compared with instants, which would shift a period: found in the query and its tables (here: SQLite)."""

from __future__ import annotations

import pytest

from pipeline.adapters import sources
from pipeline.report import Source

TABLES = """
create table sales (day text, at text, weight real);
create view seen as select day as seen_on, at from sales;
insert into sales values ('2026-11-09', '2026-11-09 10:00:00', 1), ('2026-11-10', '2026-11-10 00:00:00', 2);
insert into sales values (null, null, 3);
create table empty (day text);
"""
SHIFTED = {
    "a range": "select * from sales where day >= :start and day < :end",
    "between": "select * from sales where day between :start and :end",
    "one day": "select * from sales where day = :start",
    "turned round": "select * from sales where :start <= day",
    "a qualified name": 'select * from sales s where s."day" >= :start',
    "in capitals": "SELECT * FROM Sales WHERE DAY >= :start",
    "a view": "select * from seen where seen_on >= :start",
    "a join": "select * from empty e join sales s on s.day = e.day where s.day < :end",
    "a subquery": "with week as (select * from main.sales) select * from week where day >= :start",
}
FINE = {
    "instants": "select * from sales where at >= :start and at < :end",
    "dates are bound": "select * from sales where day >= :start_date",
    "no period": "select * from sales",
    "in text only": "select 'day >= :start' from sales -- day >= :start",
    "nothing to tell by": "select * from empty where day >= :start",
    "no such table": "select * from nowhere where day >= :start",
    "no such column": "select * from sales where moment >= :start",
}


@pytest.fixture
def told(tmp_path, warehouse):
    warehouse(TABLES)

    def ask(sql: str, **fields: str) -> str | None:
        source = Source(database="warehouse", sql=sql, **fields)
        return sources.shifted(source, home=tmp_path, database_url=lambda _: "sqlite:///warehouse.db")

    return ask


@pytest.mark.parametrize("sql", SHIFTED.values(), ids=SHIFTED)
def test_days_compared_with_instants_are_told(told, sql):
    said = told(sql)
    assert said.endswith("say time: date (or time: utc, if that is what you mean)")
    assert said.startswith(('"day" holds days', '"seen_on" holds days'))


@pytest.mark.parametrize("sql", FINE.values(), ids=FINE)
def test_what_is_right_or_cannot_be_known_is_left_alone(told, sql):
    assert told(sql) is None


@pytest.mark.parametrize(
    ("time", "shifted"), [("utc", False), ("date", False), ("naive_utc", True), ("naive_local", True)]
)
def test_whoever_says_utc_or_date_is_believed(told, time, shifted):
    assert (told("select * from sales where day >= :start", time=time) is not None) == shifted


def test_a_database_that_is_away_tells_nothing(tmp_path):
    source = Source(database="warehouse", sql="select * from sales where day >= :start")
    assert sources.shifted(source, home=tmp_path, database_url=lambda _: "sqlite:///nowhere.db") is None
    assert sources.shifted(Source(url="a.csv"), home=tmp_path, database_url=str) is None
