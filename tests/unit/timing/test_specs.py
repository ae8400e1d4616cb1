from datetime import UTC, datetime

import pytest

from pipeline.timing import EPOCH, At, Cron, Every, describe, spec


def utc(written):
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"cron": "0 7 * * mon"}, Cron("0 7 * * mon")),
        ({"cron": "0 7 1 * mon", "days": "both", "gap": "skip"}, Cron("0 7 1 * mon", days="both", gap="skip")),
        ({"every": "15m", "overlap": "first"}, Every(900, EPOCH)),
        ({"every": 90, "anchor": "2026-01-01T00:00"}, Every(90, utc("2025-12-31T23:00"))),
        ({"every": "1h", "anchor": "2026-01-01T00:30Z"}, Every(3600, utc("2026-01-01T00:30"))),
        ({"at": "2026-11-16T07:00"}, At((utc("2026-11-16T06:00"),))),
        (
            {"at": ["2026-11-16T07:00", "2026-11-01 07:00-05:00"]},
            At((utc("2026-11-01T12:00"), utc("2026-11-16T06:00"))),
        ),
        # In the gap of the spring, and in the overlap of autumn.
        ({"at": ["2026-03-29T02:30", "2026-10-25T02:30"]}, At((utc("2026-03-29T01:00"), utc("2026-10-25T00:30")))),
    ],
)
def test_what_a_schedule_says_becomes_a_value(fields, value):
    assert spec(fields, "Europe/Berlin") == value


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "neither cron nor every nor at"),
        ({"cron": "0 25 * * *"}, "hour 25 is outside 0-23"),
        ({"every": "soon"}, 'duration "soon" is not understood'),
        ({"every": "0s"}, "every 0s is not a whole number of seconds, 1 or more"),
        ({"every": 0.5}, "every 0.5 is not a whole number of seconds"),
        ({"every": "1h", "anchor": "noon"}, 'anchor "noon" is not a date with a time'),
        ({"at": "tomorrow"}, 'at "tomorrow" is not a date with a time: write it like 2026-11-16T07:00'),
        ({"at": []}, "at names no instant"),
        ({"at": "9999-12-31T23:59"}, 'at "9999-12-31T23:59" is not a date with a time'),
        ({"every": "1h", "anchor": "0001-01-01T00:00Z"}, 'anchor "0001-01-01T00:00Z" is not a date with a time'),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        spec(fields, "Europe/Berlin")


def test_values_keep_utc_and_order():
    berlin = datetime.fromisoformat("2026-11-16T07:00+01:00")
    assert At((berlin, utc("2026-11-01T00:00"), utc("2026-11-16T06:00"))).instants == (
        utc("2026-11-01T00:00"),
        utc("2026-11-16T06:00"),
    )
    assert Every(60, berlin).anchor.tzinfo is UTC
    assert hash(Cron("0 7 * * mon")) == hash(Cron("0 7 * * mon"))
    with pytest.raises(ValueError, match="no time zone"):
        At((berlin.replace(tzinfo=None),))
    with pytest.raises(ValueError, match="whole number of seconds"):
        Every(1.5)


@pytest.mark.parametrize(
    ("value", "zone", "words"),
    [
        (Cron("0 7 * * mon"), None, "At 07:00 on Monday"),
        (Cron("30 2 * * *"), "Europe/Berlin", "At 02:30 every day, Europe/Berlin time"),
        (Cron("0 9 * * 1-5"), None, "At 09:00 on Monday through Friday"),
        (Cron("0 0 L * *"), None, "At 00:00 on the last day of every month"),
        (Cron("0 0 13 * fri"), None, "At 00:00 on the 13th day of month and on Friday"),
        (Cron("0 0 13 * fri", days="both"), None, "At 00:00 on the 13th day of month if it's on Friday"),
        (Cron("0 0 21,22,31 * *"), None, "At 00:00 on the 21st, the 22nd, and the 31st day of month"),
        (Cron("0 0 11-13 * *"), None, "At 00:00 on every day of month from 11 through 13"),
        (Cron("0 0 12 * *"), None, "At 00:00 on the 12th day of every month"),
        (Cron("*/10 * * * * *"), None, "Every 10th second of every minute"),
        (Every(5400), "Europe/Berlin", "Every 1h30m"),
        (
            Every(7200, utc("2026-01-01T00:30")),
            "Europe/Berlin",
            "Every 2h, counted from 2026-01-01 01:30 Europe/Berlin",
        ),
        (At((utc("2026-11-16T06:00"),)), "Europe/Berlin", "Once, on 2026-11-16 07:00 Europe/Berlin"),
        (
            At((utc("2026-11-16T06:00"), utc("2026-11-17T06:00"))),
            None,
            "2 times, from 2026-11-16 06:00 UTC to 2026-11-17 06:00 UTC",
        ),
    ],
)
def test_in_plain_english(value, zone, words):
    assert describe(value, zone) == words
