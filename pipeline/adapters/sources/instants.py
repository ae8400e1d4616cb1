"""Between wall times and UTC, a column at a time, by Python's own time zones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_INSTANT = pa.timestamp("us", "UTC")
_WALL = pa.timestamp("us")


def to_utc(wall: Any, zone: tzinfo) -> Any:
    """Read naive timestamps (microseconds) as wall times in `zone`; one that comes twice (DST) means the first."""
    if zone is UTC:
        return wall.cast(_INSTANT)
    offsets = _offsets(wall, lambda moment: moment.replace(tzinfo=zone).utcoffset())
    return pc.subtract(wall, offsets).cast(_INSTANT)


def to_wall(instants: Any, zone: tzinfo) -> Any:
    """Give UTC instants as naive wall times in `zone`."""
    wall = instants.cast(_WALL)
    if zone is UTC:
        return wall
    return pc.add(wall, _offsets(wall, lambda moment: moment.replace(tzinfo=UTC).astimezone(zone).utcoffset()))


def _offsets(moments: Any, offset: Callable[[datetime], timedelta | None]) -> Any:
    """Look the offset up once per quarter of an hour: zones change on none but these, and Arrow needs no tzdata so."""
    quarters = pc.floor_temporal(moments, 15, "minute")
    distinct = quarters.unique()
    known = [None if quarter is None else offset(quarter) for quarter in distinct.to_pylist()]
    return pa.array(known, pa.duration("us")).take(pc.index_in(quarters, value_set=distinct))
