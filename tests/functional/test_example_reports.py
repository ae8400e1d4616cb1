"""What the shipped reports' build() makes of rows, told with a week of a few flights."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters import home
from pipeline.adapters.datasets.rows import row_class

ROOT = Path(__file__).parents[2]
MONDAY, TUESDAY = date(2013, 9, 9), date(2013, 9, 10)
FLIGHT: dict[str, Any] = {
    "carrier": "B6",
    "airline": "JetBlue Airways",
    "day": MONDAY,
    "departure": "07:30",
    "flight": 1,
    "tailnum": "N178JB",
    "origin": "JFK",
    "dest": "BOS",
    "destination": "General Edward Lawrence Logan Intl",
    "outcome": "on time",
    "dep_delay": 0,
    "arr_delay": -5,
}
OTHERS = {"other": "UA", "day": MONDAY, "hour": 7, "flights": 10, "on_time": 8, "departed": 10, "minutes": 100}
CANCELLED = {"outcome": "cancelled", "tailnum": None, "dep_delay": None, "arr_delay": None}


def rows(defaults, *changes):
    make = row_class(tuple(defaults))
    return [make({**defaults, **change}.values()) for change in changes]


def flights(*changes):
    return rows(FLIGHT, *changes)


def late(minutes, **changes):
    return {"outcome": "late", "dep_delay": minutes - 5, "arr_delay": minutes, **changes}


def counted(of, carrier="B6"):
    """What the query of everybody's flights counts for these of one carrier."""
    groups: dict[Any, list[Any]] = {}
    for one in of:
        groups.setdefault((one.day, int(one.departure[:2])), []).append(one)
    return [
        {
            "other": carrier,
            "day": day,
            "hour": hour,
            "flights": len(group),
            "on_time": sum(one.outcome == "on time" for one in group),
            "departed": sum(one.dep_delay is not None for one in group),
            "minutes": sum(one.dep_delay or 0 for one in group),
        }
        for (day, hour), group in groups.items()
    ]


def review(own, *others):
    build = home.build_for(ROOT, "carrier_review")
    assert build is not None
    return build(own, None, rows(OTHERS, *counted(own), *others))


def figures(found):
    return {figure["label"]: figure["value"] for figure in found["figures"]}


def test_a_flight_that_was_cancelled_or_diverted_was_not_on_time():
    own = flights({}, {}, CANCELLED, {"outcome": "diverted", "arr_delay": None})
    found = figures(review(own))
    assert (found["Flights"], found["On time"], found["Cancelled"], found["Diverted"]) == (4, 0.5, 1, 1)


def test_the_summary_compares_with_everybody_and_names_the_worst_day():
    own = flights({}, {}, {"day": TUESDAY}, late(70, day=TUESDAY))
    others = {"flights": 16, "on_time": 7, "departed": 16}
    assert review(own, others)["summary"] == (
        "75% of 4 flights arrived on time, 25 points above all carriers together. The worst day was Tuesday, with 50%."
    )


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (flights({}, {}), "All of 2 flights arrived on time."),
        (flights({}, late(20)), "50% of 2 flights arrived on time, the same as all carriers together. "),
        (flights(CANCELLED), "0% of 1 flight arrived on time, "),
    ],
)
def test_the_summary_of_the_best_the_plain_and_the_worst_week(own, said):
    assert review(own)["summary"].startswith(said)


def test_carriers_with_the_same_share_take_the_same_place():
    own = flights({}, late(20))
    places = [
        figures(review(own, *({"other": name, "flights": 4, "on_time": on_time} for name, on_time in others)))
        for others in ([], [("UA", 3)], [("UA", 2)], [("UA", 3), ("AA", 3), ("US", 1)])
    ]
    assert [found["Place by share on time"] for found in places] == ["1 of 1", "2 of 2", "1 of 2", "3 of 4"]


def test_a_day_or_an_hour_without_own_flights_is_a_gap_and_not_zero():
    days, hours = review(flights({}), {"day": TUESDAY}, {"hour": 9, "departed": 5, "minutes": 60})["charts"]
    assert days["rows"] == [
        {"day": MONDAY, "own": 1.0, "all": 9 / 11},
        {"day": TUESDAY, "own": None, "all": 0.8},
    ]
    assert hours["rows"] == [
        {"hour": "07:00", "own": 0.0, "all": 100 / 11},
        {"hour": "09:00", "own": None, "all": 12.0},
    ]


def test_the_least_punctual_route_comes_first_and_the_busier_of_two():
    boston, orlando = {"dest": "BOS"}, {"dest": "MCO", "destination": "Orlando Intl"}
    own = flights(
        boston, boston, late(30, **boston), orlando, late(45, **orlando), {"dest": "SJU", "destination": None}
    )
    table = review(own)["tables"][0]
    assert [(row["route"], row["flights"], round(row["on_time"], 2)) for row in table["rows"]] == [
        ("JFK-MCO", 2, 0.5), ("JFK-BOS", 3, 0.67), ("JFK-SJU", 1, 1.0),
    ]  # fmt: skip
    assert table["rows"][2]["destination"] is None


def test_the_ten_longest_delays_are_listed_and_nothing_that_was_on_time():
    table = review(flights({}, *(late(minutes) for minutes in range(15, 27))))["tables"][1]
    assert [row["arr_delay"] for row in table["rows"]] == list(range(26, 16, -1))
    assert [one["title"] for one in review(flights({}))["tables"]] == ["Routes, least punctual first"]


def test_a_week_of_one_cancelled_flight_still_makes_a_review():
    found = review(flights(CANCELLED))
    assert figures(found)["Mean arrival delay"] is None
    assert found["charts"][1]["rows"] == [{"hour": "07:00", "own": None, "all": None}]
    assert found["title"] == "JetBlue Airways out of New York"
