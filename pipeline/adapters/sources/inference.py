"""From the Python values of one column of a chunk to an Arrow array that holds every one of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.sources.instants import to_utc
from pipeline.adapters.sources.iso import Iso
from pipeline.adapters.sources.kinds import NOTHING, TEXT, Kind, decimal_kind
from pipeline.errors import PermanentError

_INSTANT = Kind(pa.timestamp("us", "UTC"))
# The largest whole number up to which every one is a float, too.
_EXACT = 2**53


@dataclass(frozen=True)
class Inference:
    """How values are read: `zone` is that of timestamps without one; `dates_in_text` whether ISO text means dates.

    Decimals stay decimals: money must add up. Lists and objects become JSON text, times and intervals text. Bytes are
    refused: no document can show them.
    """

    zone: tzinfo = UTC
    dates_in_text: bool = False

    def column(self, name: str, values: Sequence[Any], so_far: Kind = NOTHING) -> tuple[Any, Kind]:
        """Give the values as an array and its kind; `so_far` is what the column's earlier chunks are.

        Raises PermanentError naming the column if it holds bytes.
        """
        types = set(map(type, values)) - {type(None)}
        if types & {bytes, bytearray, memoryview}:
            raise PermanentError(
                f'column "{name}" holds bytes, which no document can show: leave it out, or turn it into text'
            )
        try:
            return self._inferred(types, values, so_far)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError, ValueError):
            return self._as_text(values), TEXT

    def _inferred(  # noqa: PLR0911 - one return per kind of column
        self, types: set[type], values: Sequence[Any], so_far: Kind
    ) -> tuple[Any, Kind]:
        if not types:
            return pa.nulls(len(values)), NOTHING
        if types == {str}:
            return self.text(pa.array(values, pa.string()), so_far)
        if types <= {int, Decimal}:
            return _whole_or_decimal(types, values)
        if types <= {int, float} and all(abs(value) <= _EXACT for value in values if type(value) is int):
            return pa.array(values, pa.float64()), Kind(pa.float64())
        if types == {datetime}:
            return self._instants(values), _INSTANT
        if types in ({bool}, {date}):
            array = pa.array(values)
            return array, Kind(array.type)
        return self._as_text(values), TEXT

    def text(self, array: Any, so_far: Kind) -> tuple[Any, Kind]:
        """Give text as it is or, where `dates_in_text` and every value allow it, as dates or instants."""
        if self.dates_in_text and (so_far == NOTHING or so_far.iso):
            samples = array.drop_null()
            iso = so_far.iso or (Iso.of(samples[0].as_py(), self.zone) if len(samples) else None)
            parsed = iso.parse(array) if iso else None
            if iso and parsed is not None:
                return parsed, Kind(iso.type, iso)
        return array, TEXT

    def _as_text(self, values: Sequence[Any]) -> Any:
        return pa.array([None if value is None else self._text(value) for value in values], pa.string())

    def _text(self, value: Any) -> str:
        """One value as text: numbers and dates in the form of `datasets.as_text`, lists and objects as JSON."""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            # Half a surrogate pair cannot be stored.
            return value.encode("utf-8", "replace").decode()
        if isinstance(value, dict | list | tuple):
            return json.dumps(value, ensure_ascii=False, default=self._nested)
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=self.zone)
            return aware.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        if isinstance(value, float) and math.isfinite(value):
            value = Decimal(repr(value))
        if isinstance(value, Decimal) and value.is_finite():
            digits = format(value or Decimal(0), "f")
            return digits.rstrip("0").rstrip(".") if "." in digits else digits
        return value.isoformat() if isinstance(value, date | time) else str(value)

    def _nested(self, value: Any) -> Any:
        """One value that JSON has no form for; decimals are numbers there where a float holds them."""
        if isinstance(value, Decimal) and math.isfinite(number := float(value)) and Decimal(repr(number)) == value:
            return number
        return self._text(value)

    def _instants(self, values: Sequence[datetime | None]) -> Any:
        naive = [value is not None and value.tzinfo is None for value in values]
        if not any(naive):
            return pa.array(values, _INSTANT.type)
        walls = pa.array(
            [value if wall else None for value, wall in zip(values, naive, strict=True)], pa.timestamp("us")
        )
        aware = pa.array([None if wall else value for value, wall in zip(values, naive, strict=True)], _INSTANT.type)
        return pc.coalesce(to_utc(walls, self.zone), aware)


def _whole_or_decimal(types: set[type], values: Sequence[Any]) -> tuple[Any, Kind]:
    if types == {int}:
        try:
            return pa.array(values, pa.int64()), Kind(pa.int64())
        except OverflowError:
            values = [None if value is None else Decimal(value) for value in values]
    array = pa.array(values)
    kind = decimal_kind(max(array.type.scale, 0), wide=pa.types.is_decimal256(array.type))
    return array.cast(kind.type), kind
