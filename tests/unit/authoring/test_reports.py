from __future__ import annotations

import sqlite3

import pytest
import yaml

from pipeline.authoring import recipients, reports
from pipeline.authoring.check import check
from pipeline.errors import DefinitionError, NotFound, PermanentError, Refused
from pipeline.report import Source
from pipeline.settings import settings


@pytest.fixture
def shop(home, monkeypatch):
    """A database with a column of every kind, and one row a day."""
    with sqlite3.connect(home / "shop.db") as connection:
        connection.execute("create table orders (id integer, customer text, day text, at text, amount real, note text)")
        rows = [(n, "ACME", f"2026-11-{10 + n}", f"2026-11-{10 + n} 12:00:00", n / 2, None) for n in range(7)]
        connection.executemany("insert into orders values (?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    monkeypatch.setenv("PIPELINE_SOURCE_SHOP_URL", "sqlite:///shop.db")


def test_a_source_is_tried_and_shows_its_first_rows_and_types(shop):
    query = "select * from orders where day >= :start_date and day < :end_date"
    found = reports.tried(Source(database="shop", sql=query), "2026-11")
    assert found.columns == {
        "id": "whole number", "customer": "text", "day": "date", "at": "instant", "amount": "number",
        "note": "NULL only",
    }  # fmt: skip
    assert (found.count, len(found.rows)) == (7, reports.SHOWN_ROWS)
    assert found.rows[1][:2] == (1, "ACME")
    assert found.bound == {"start_date": "2026-11-01", "end_date": "2026-12-01"}


def test_a_source_without_rows_still_shows_its_columns(shop):
    found = reports.tried(
        Source(database="shop", sql="select id, customer from orders where day < :start_date"), "2013"
    )
    assert (list(found.columns), found.rows, found.count) == (["id", "customer"], [], 0)


def test_what_is_wrong_with_a_source_is_said(shop):
    for sql, sentence in (("select nowhere from orders", "no such column: nowhere"), ("select :x", ":x is not known")):
        with pytest.raises(PermanentError, match=sentence):
            reports.tried(Source(database="shop", sql=sql), "yesterday")
    with pytest.raises(DefinitionError, match="set PIPELINE_SOURCE_SHOOP_URL"):
        reports.tried(Source(database="shoop", sql="select 1"), "yesterday")
    with pytest.raises(Refused, match="did you mean"):
        reports.tried(Source(database="shop", sql="select 1"), "last_weak")


def test_a_name_must_be_new_and_one(home):
    (home / "schedules" / "a.yaml").touch()
    (home / "schedules" / "b.sql").touch()
    for name, sentence in (
        ("a", "schedules/a.yaml is there already"),
        ("b", "schedules/b.sql is there already"),
        ("Late Orders", "such as late_orders"),
        ("1st", '"1st" cannot be a name'),
    ):
        with pytest.raises(Refused, match=sentence):
            reports.refuse_name(name)
    reports.refuse_name("c")
    (home / "schedules" / "a.yaml").unlink()
    (home / "schedules" / "b.sql").unlink()
    (home / "schedules").rmdir()
    with pytest.raises(NotFound, match="is no home"):
        reports.refuse_name("c")


def test_the_files_are_as_a_person_would_write_them(shop, home):
    (home / "schedule.schema.json").touch()
    answers = reports.Answers(
        name="late_orders",
        title='Late: "orders" & more',
        database="shop",
        sql="\nselect *\nfrom orders\n\n",
        period="last_week",
        split_by="customer",
        formats=("pdf", "xlsx"),
        when="0 7 * * mon",
        to=[{"key": "ACME", "email": "a@acme.example"}, {"key": "no", "email": "n@x.example"}],
    )
    assert [str(path) for path in reports.write(answers)] == ["schedules/late_orders.yaml", "schedules/late_orders.sql"]
    assert (home / "schedules" / "late_orders.sql").read_text(encoding="utf-8") == "select *\nfrom orders\n"
    text = (home / "schedules" / "late_orders.yaml").read_text(encoding="utf-8")
    assert text == (
        "# yaml-language-server: $schema=../schedule.schema.json\n"
        "report:\n"
        '  title: "Late: \\"orders\\" & more"\n'
        "  period: last_week\n"
        "  database: shop\n"
        "  sql: late_orders.sql\n"
        "  split_by: customer\n"
        "  formats: [pdf, xlsx]\n"
        'when: "0 7 * * mon"\n'
        "recipients:\n"
        "  - {key: ACME, email: a@acme.example}\n"
        '  - {key: "no", email: n@x.example}\n'
    )
    assert check(["late_orders"]).faults == []


@pytest.mark.parametrize("value", ["yes", "NULL", "2013", "a: b", "# a", "Łódź", "it's", "1e3", "@x", "a b", "{x}"])
def test_any_text_comes_back_as_the_text_it_was(home, value):
    (home / "x.csv").write_text("a\n1\n", encoding="utf-8")
    reports.write(reports.Answers(name="x", title=value, file="x.csv", to=[value]))
    found = yaml.safe_load((home / "schedules" / "x.yaml").read_text(encoding="utf-8"))
    assert (found["report"]["title"], found["recipients"]) == (value, [value])


def test_answers_that_make_no_schedule_leave_nothing_behind(home):
    with pytest.raises(DefinitionError, match=r"schedules/x\.yaml: when"):
        reports.write(reports.Answers(name="x", title="X", file="x.csv", when="0 25 * * *"))
    assert list((home / "schedules").iterdir()) == []


WHO = {
    "nobody": ("  ", None, None),
    "one": ("a@b.example", None, ["a@b.example"]),
    "some": ("a@b.example, c@D.example;", None, ["a@b.example", "c@d.example"]),
    "by key": (
        "ACME=a@b.example, Bolt & Co=c@d.example",
        "customer",
        [{"key": "ACME", "email": "a@b.example"}, {"key": "Bolt & Co", "email": "c@d.example"}],
    ),
    "a query": ("SELECT email FROM people", None, {"database": "shop", "query": "SELECT email FROM people"}),
    "a file": ("data/people.csv", "customer", {"file": "data/people.csv"}),
}


@pytest.mark.parametrize(("text", "split_by", "expected"), WHO.values(), ids=WHO)
def test_recipients_are_read_from_one_line(text, split_by, expected):
    assert recipients.read(text, split_by=split_by, database="shop") == expected


NOT_WHO = {
    "no key": ("a@b.example", "customer", "whose document? There is one for each customer: write KEY=a@b.example"),
    "a key for nothing": ("X=a@b.example", None, "the report is not split: write a@b.example alone"),
    "no address": ("somebody", None, '"somebody" is not an e-mail address'),
    "a query without keys": ("select email from people", "customer", "the query must give email and key"),
}


@pytest.mark.parametrize(("text", "split_by", "sentence"), NOT_WHO.values(), ids=NOT_WHO)
def test_recipients_that_cannot_be_are_refused(text, split_by, sentence):
    with pytest.raises(PermanentError) as refused:
        recipients.read(text, split_by=split_by, database="shop")
    assert sentence in str(refused.value)


def test_a_query_for_recipients_needs_a_database():
    with pytest.raises(Refused, match="--recipients-database"):
        recipients.read("select email from people", split_by=None, database=None)


def test_a_new_report_in_a_clone_names_the_schema_of_the_docs(home):
    (home / "docs").mkdir()
    (home / "docs" / "schedule.schema.json").touch()
    (home / "x.csv").write_text("a\n1\n", encoding="utf-8")
    reports.write(reports.Answers(name="x", title="X", file="x.csv"))
    text = (settings().home / "schedules" / "x.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../docs/schedule.schema.json\nreport:\n")
