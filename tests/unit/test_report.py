"""A report as a value: its short forms mean what they say, and what cannot be meant is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.report import Column, Report, Source

SOURCE = {"database": "warehouse", "sql": "select 1"}


def report(**fields):
    return Report.model_validate({"title": "Flights", **SOURCE, **fields})


def reasons(**fields):
    with pytest.raises(ValidationError) as refused:
        Report.model_validate(fields)
    return [problem["msg"].removeprefix("Value error, ") for problem in refused.value.errors()]


def test_a_title_and_a_query_are_enough():
    made = report()

    assert made.sources == {"rows": Source(database="warehouse", sql="select 1")}
    assert made.main_source == "rows"
    assert (made.period, made.formats, made.page, made.pdf) == ("yesterday", ["pdf"], "A4", "pdf/ua-1")
    assert (made.split_by, made.template, made.columns, made.chart, made.params) == (None, None, {}, None, {})


def test_the_short_form_takes_a_file_and_the_kind_of_time_too():
    made = Report.model_validate({"title": "Flights", "url": "data/flights.csv", "time": "naive_local"})

    assert made.sources == {"rows": Source(url="data/flights.csv", time="naive_local")}


def test_several_sources_have_names_and_the_first_is_split():
    made = Report.model_validate({"title": "x", "sources": {"flights": SOURCE, "weather": {"url": "weather.csv"}}})

    assert made.main_source == "flights"


@pytest.mark.parametrize(
    ("field", "short", "meant"),
    [
        ("formats", "xlsx", ["xlsx"]),
        ("period", 2013, "2013"),
        ("columns", ["day", "delay"], {"day": Column(), "delay": Column()}),
        ("columns", {"day": "Day", "delay": None}, {"day": Column(label="Day"), "delay": Column()}),
        ("columns", {"delay": {"total": "mean", "unit": "min"}}, {"delay": Column(total="mean", unit="min")}),
        ("locale", "pt-BR", "pt_BR"),
        ("locale", "zh_Hant_TW", "zh_Hant_TW"),
    ],
)
def test_short_forms(field, short, meant):
    assert getattr(report(**{field: short}), field) == meant


def test_a_chart_of_one_column_needs_no_list():
    assert report(chart={"x": "day", "y": "delay"}).chart.y == ["delay"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"title": "x"}, "needs a source: sql (with database), url, or sources"),
        ({"title": "x", "sql": "select 1"}, "sql needs database: the name of a PIPELINE_SOURCE_<NAME>_URL"),
        ({"title": "x", "database": "d"}, "needs either sql (with database) or url"),
        ({"title": "x", **SOURCE, "url": "a.csv"}, "needs either sql (with database) or url"),
        ({"title": "x", **SOURCE, "sources": {"a": SOURCE}}, "give either sources or database, sql, not both"),
        ({"title": "x", "sources": {"period": SOURCE}}, "a source cannot be named period: the word is taken"),
        ({"title": "x", "sources": {"recipients": SOURCE}}, "a source cannot be named recipients: the word is taken"),
        (
            {"title": "x", **SOURCE, "params": {"end": 1}},
            ".end cannot be a parameter: queries get the period's instants as :end",
        ),
        ({"title": "x", **SOURCE, "locale": "german"}, '"german" is not a locale such as en, de_DE or pt_BR'),
        ({"title": "", **SOURCE}, "String should have at least 1 character"),
        ({"title": "x", **SOURCE, "template": "../other"}, "String should match pattern '^[a-z][a-z0-9_]*$'"),
        (
            {"title": "x", **SOURCE, "chart": {"x": "a", "y": list("abcde")}},
            "List should have at most 4 items after validation, not 5",
        ),
        (
            {"title": "x", **SOURCE, "chart": {"x": "a", "y": "b", "limit": 0}},
            "Input should be greater than or equal to 1",
        ),
        ({"title": "x", **SOURCE, "columns": {"a": {"digits": 10}}}, "Input should be less than or equal to 9"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, reason):
    assert reasons(**fields) == [reason]


def test_a_value_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        report().title = "Another"
