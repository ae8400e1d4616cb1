"""`pipeline next`: when it fires, by both clocks, and why it does not."""

from __future__ import annotations

import json

import pytest

from tests import factories

NEW_YORK = ("--zone", "America/New_York")
DAILY = "report: {title: T, database: d, sql: select 1}\nwhen: {cron: '0 7 * * *', timezone: Europe/Berlin, %s}\n"

pytestmark = pytest.mark.usefixtures("home")


def due(found):
    return [one["due_at"].removesuffix(":00.000Z") for one in found]


# Rows of the table of scheduling rules, as they are typed.
@pytest.mark.parametrize(
    ("expression", "options", "after", "expected"),
    [
        ("30 2 * * *", [], "2026-03-07T12:00Z", ["2026-03-08T07:00", "2026-03-09T06:30"]),
        ("30 2 * * *", ["--dst-gap", "skip"], "2026-03-07T12:00Z", ["2026-03-09T06:30", "2026-03-10T06:30"]),
        ("30 1 * * *", ["--dst-overlap", "both"], "2026-10-31T12:00Z", ["2026-11-01T05:30", "2026-11-01T06:30"]),
        ("30 1 * * *", ["--dst-overlap", "second"], "2026-10-31T12:00Z", ["2026-11-01T06:30", "2026-11-02T06:30"]),
        ("30 1 * * *", [], "2026-11-01T06:10Z", ["2026-11-02T06:30"]),
        ("0 * * * *", [], "2026-11-01T04:30Z", ["2026-11-01T05:00", "2026-11-01T06:00", "2026-11-01T07:00"]),
        ("30 2 * * *", [], "2026-03-08T01:00", ["2026-03-08T07:00"]),
    ],
)
def test_the_next_fires_of_an_expression(as_json, expression, options, after, expected):
    found = as_json("next", expression, *NEW_YORK, "--after", after, "--count", len(expected), *options)
    assert due(found) == expected


def test_a_fire_for_machines(as_json):
    found = as_json("next", "30 2 * * *", *NEW_YORK, "--after", "2026-03-07T12:00Z", "--count", 1)
    assert found == [
        {
            "due_at": "2026-03-08T07:00:00.000Z",
            "local": "2026-03-08T03:00:00-04:00",
            "zone": "America/New_York",
            "note": "02:30 does not exist on 2026-03-08 in America/New_York: fires at 03:00",
            "dropped": [],
        }
    ]
    (skipped,) = as_json("next", "30 2 * * *", *NEW_YORK, "--after", "2026-03-08", "--count", 1, "--dst-gap", "skip")
    assert (skipped["due_at"], skipped["note"]) == ("2026-03-09T06:30:00.000Z", None)
    assert skipped["dropped"] == [
        {
            "due_at": "2026-03-08T07:00:00.000Z",
            "local": "2026-03-08T03:00:00-04:00",
            "note": "02:30 does not exist on 2026-03-08 in America/New_York: dropped, as gap: skip asks",
        }
    ]


@pytest.mark.parametrize(
    ("words", "english", "expected"),
    [
        (["every", "15m"], "Every 15m", ["2026-12-23T00:15", "2026-12-23T00:30"]),
        (["90m"], "Every 1h30m", ["2026-12-23T01:30", "2026-12-23T03:00"]),
        (["at 2026-12-24T18:00, 2026-12-31T18:00Z"], "2 times, from", ["2026-12-24T18:00", "2026-12-31T18:00"]),
        (["{at: [2026-12-31T18:00], timezone: Asia/Tokyo}"], "Once, on 2026-12-31 18:00 Asia", ["2026-12-31T09:00"]),
        (
            ["{cron: 0 7 * * *, only_on: business_days, except_on: holidays:DE, on_holiday: after}"],
            "At 07:00 every day, UTC time, only on business days, except on holidays (DE), otherwise on the next",
            ["2026-12-23T07:00", "2026-12-24T07:00"],
        ),
        (
            ["{cron: 0 18 * * *, day: last_business_day}"],
            "At 18:00 on the last business day of every month",
            ["2026-12-31T18:00", "2027-01-29T18:00"],
        ),
    ],
)
def test_whatever_when_takes_may_be_tried_out_and_is_told_in_english(typed, as_json, words, english, expected):
    asked = ["next", *words, "--after", "2026-12-23T00:00Z", "--count", 2]
    assert due(as_json(*asked)) == expected
    assert " ".join(typed(*asked).stdout.split()).startswith(english)


def test_what_a_calendar_drops_is_shown_marked_and_not_counted(typed):
    asked = "{cron: 0 7 * * *, only_on: business_days, except_on: holidays:DE, timezone: Europe/Berlin}"
    shown = typed("next", asked, "--after", "2026-12-31", "--count", 2).stdout

    assert max(map(len, shown.splitlines())) <= 80
    said = " ".join(shown.split())
    assert "Thu 31 Dec 2026 07:00 +01:00 2026-12-31 06:00 Fri 1 Jan 2027 07:00 +01:00 2027-01-01 06:00 ✗ Fri" in said
    assert "✗ Fri 2027-01-01 is New" in said
    assert said.endswith("Mon 4 Jan 2027 07:00 +01:00 2027-01-04 06:00")


def test_many_that_are_dropped_in_a_row_are_counted(typed):
    shown = typed("next", "{cron: 0 7 * * *, only_on: [2026-12-31, 2027-03-31]}", "--after", "2026-12-31").stdout
    assert "✗ and 86 more, until Tue 30 Mar 2027" in " ".join(shown.split())
    assert shown.rstrip().endswith("It does not fire after that.")


@pytest.mark.parametrize("at_an_end", ["0001-01-01", "9999-12-31T23:59Z"])
def test_an_end_of_the_calendar_is_refused_with_a_sentence(typed, at_an_end):
    answer = typed("next", "0 7 * * mon", *NEW_YORK, "--after", at_an_end)
    assert answer.exit_code == 2
    assert f'--after "{at_an_end}": write a length of time' in answer.stderr


def test_an_interval_fires_as_long_as_the_calendar_lasts(as_json):
    assert len(as_json("next", "every", "36500d", "--after", "2026-01-01", "--count", 200)) == 80


def test_years_are_no_limit(as_json):
    found = as_json("next", "0 0 29 2 *", "--after", "2026-01-01", "--count", 20)
    assert due(found)[-1] == "2108-02-29T00:00"


# ---- schedules


def test_a_schedule_is_read_from_its_file_without_any_database(typed, as_json, home):
    (home / "schedules" / "daily.yaml").write_text(DAILY % "except_on: closed.txt")
    (home / "schedules" / "closed.txt").write_text("2026-12-24  Christmas Eve\n")

    (fire,) = as_json("next", "daily", "--after", "2026-12-24T00:00", "--count", 1)
    assert fire["local"] == "2026-12-25T07:00:00+01:00"
    assert [one["note"] for one in fire["dropped"]] == [
        "Thu 2026-12-24 is Christmas Eve (closed.txt): dropped",
    ]
    assert typed("next", "daily").stdout.startswith("schedules/daily.yaml: At 07:00 every day, Europe/Berlin time")
    tokyo = as_json("next", "daily", "--zone", "Asia/Tokyo", "--after", "2026-12-26", "--count", 1)
    assert tokyo[0]["local"] == "2026-12-26T07:00:00+09:00"


def test_a_schedule_without_a_file_is_read_from_the_database(typed, as_json, database):
    factories.make_schedule()
    assert due(as_json("next", "shipments", "--after", "2026-11-15", "--count", 1)) == ["2026-11-16T06:00"]
    assert typed("next", "shipments").stdout.startswith("schedule shipments, from the database: At 07:00 on Monday")


def test_a_schedule_that_is_triggered_by_hand_only(typed, as_json, home):
    (home / "schedules" / "manual.yaml").write_text("report: {title: T, database: d, sql: select 1}\n")
    assert as_json("next", "manual") == []
    assert "it has no `when` and is triggered by hand only" in typed("next", "manual").stdout


# ---- what cannot be meant


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["0 25 * * *"], 'cron "0 25 * * *": hour 25 is outside 0-23'),
        (["0 0 30 2 *"], 'cron "0 0 30 2 *": can never fire: day-of-month is 30, and February has no such day'),
        (["every", "soon"], 'duration "soon" is not understood'),
        (["at tomorrow"], 'at "tomorrow" is not a date with a time: write it like 2026-11-16T07:00'),
        (["{cron: 0 7"], "{cron: 0 7: line 1, column 11: expected ',' or '}'"),
        (["{cron: 0 7 * * *, excpt_on: sat}"], "excpt_on is not a field here: did you mean except_on?"),
        (
            ["{cron: 0 7 * * *, except_on: no.txt}"],
            'when.except_on "no.txt" cannot be read: put it beside schedules/NAME',
        ),
        (["dialy"], 'there is no schedule "dialy": did you mean daily?'),
        (["wrong"], "schedules/wrong.yaml: when.on_holiday"),
        (
            ["0 7 * * *", "--zone", "Europe/Berln"],
            '--zone: time zone "Europe/Berln" is not known: did you mean Europe/Ber',
        ),
        (["0 7 * * *", "--dst-gap", "skp"], '--dst-gap "skp": it is shift or skip'),
        (["0 7 * * *", "--dst-overlap", "none"], '--dst-overlap "none": it is first or second or both'),
        (["15m", "--dst-gap", "skip"], "--dst-gap and --dst-overlap go with a cron expression"),
        (["0 7 * * *", "--after", "noon"], '--after "noon": write a length of time'),
    ],
)
def test_bad_input_is_refused_in_one_sentence(typed, home, words, sentence):
    (home / "schedules" / "daily.yaml").write_text(DAILY % "gap: skip")
    (home / "schedules" / "wrong.yaml").write_text(DAILY % "on_holiday: never, except_on: sat")
    result = typed("next", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert json.loads(typed("next", *words, "--json").stdout)["error"] == result.stderr.strip()
