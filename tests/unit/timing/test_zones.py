from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from pipeline.timing import find_zone, instant_of, to_utc
from pipeline.timing.zones import stretches_from


def utc(written):
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "wall", "instant"),
    [
        ("Europe/Berlin", "2026-07-01T07:00", "2026-07-01T05:00"),
        ("UTC", "2026-07-01T07:00", "2026-07-01T07:00"),
        # What does not exist is the first instant after the gap ...
        ("America/New_York", "2026-03-08T02:00", "2026-03-08T07:00"),
        ("America/New_York", "2026-03-08T02:59:59.5", "2026-03-08T07:00"),
        ("Australia/Lord_Howe", "2026-10-04T02:10", "2026-10-03T15:30"),
        ("America/Santiago", "2026-09-06T00:00", "2026-09-06T04:00"),
        # ... also a whole day, the hour of a zone whose winter is the exception, and that after a month of fasting.
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00"),
        ("Europe/Dublin", "2026-03-29T01:30", "2026-03-29T01:00"),
        ("Africa/Casablanca", "2026-03-22T02:30", "2026-03-22T02:00"),
        # What comes twice is the first, unless fold asks for the second.
        ("America/New_York", "2026-11-01T01:30", "2026-11-01T05:30"),
        ("America/Havana", "2026-11-01T00:00", "2026-11-01T04:00"),
    ],
)
def test_the_instant_of_a_wall_time(zone, wall, instant):
    assert instant_of(datetime.fromisoformat(wall), zone) == utc(instant)


def test_fold_asks_for_the_second_of_two():
    second = datetime.fromisoformat("2026-11-01T01:30").replace(fold=1)
    assert instant_of(second, "America/New_York") == utc("2026-11-01T06:30")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berlim", "did you mean Europe/Berlin"),
        ("america/new_york", "did you mean America/New_York"),
        ("", "IANA name"),
        ("../../etc/passwd", "is not known"),
        ("Mars/Olympus_Mons", "is not known"),
    ],
)
def test_an_unknown_zone_is_named_with_the_nearest(name, hint):
    with pytest.raises(ValueError, match=hint):
        find_zone(name)


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        to_utc(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "zone", ["America/New_York", "Africa/Casablanca", "Asia/Gaza", "Antarctica/Troll", "Pacific/Apia", "UTC"]
)
def test_stretches_follow_each_other_and_keep_their_offset(zone):
    start, info = utc("2009-06-01T00:00"), find_zone(zone)
    found = list(stretches_from(zone, start, 5))
    assert found[0].start <= start < found[0].end
    for one, after in pairwise(found):
        assert one.end == after.start
        assert one.offset == after.offset_before
    for stretch in found:
        moment = stretch.start
        while moment < stretch.end:
            assert moment.astimezone(info).utcoffset() == stretch.offset
            moment += timedelta(hours=7)
        assert (stretch.end - timedelta(seconds=1)).astimezone(info).utcoffset() == stretch.offset
