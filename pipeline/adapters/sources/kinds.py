"""What a column holds, and what it holds when rows of another kind follow: nothing is ever rounded or dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.adapters.datasets.keys import as_text
from pipeline.adapters.sources.iso import Iso


@dataclass(frozen=True)
class Kind:
    """A column's Arrow type, and how its values were written if they came as text."""

    type: Any
    iso: Iso | None = None


# Only NULL so far.
NOTHING = Kind(pa.null())
TEXT = Kind(pa.string())


def decimal_kind(digits_after: int, *, wide: bool = False) -> Kind:
    """Decimals with room for as many digits before the mark as there can be: the next chunk may bring more."""
    return Kind(pa.decimal256(76, digits_after) if wide else pa.decimal128(38, digits_after))


def joined(one: Kind, other: Kind) -> Kind:
    """Give the narrowest kind that both fit: whole numbers grow into decimals or floats, all else into text."""
    if other in (one, NOTHING):
        return one
    if one == NOTHING:
        return other
    types = {one.type, other.type}
    if types == {pa.int64(), pa.float64()}:
        return Kind(pa.float64())
    decimals = [kind for kind in types if pa.types.is_decimal(kind)]
    if decimals and types <= {*decimals, pa.int64()}:
        wide = any(pa.types.is_decimal256(kind) for kind in decimals)
        return decimal_kind(max(kind.scale for kind in decimals), wide=wide)
    return TEXT


def broader(kind: Kind) -> Kind:
    """Give the kind to fall back to when a value does not fit `kind` without loss."""
    if pa.types.is_decimal128(kind.type):
        return decimal_kind(kind.type.scale, wide=True)
    return TEXT


def converted(array: Any, kind: Kind, to: Kind) -> Any:
    """Convert an array of `kind`; raises pyarrow.ArrowInvalid where a value would lose something."""
    if kind == to:
        return array
    if to.type == pa.string():
        return kind.iso.text(array) if kind.iso else as_text(array)
    return array.cast(to.type)


def fitted(array: Any, kind: Kind, to: Kind) -> tuple[Any, Kind]:
    """Convert an array to `to`, or to the narrowest kind beyond it that loses nothing."""
    while True:
        try:
            return converted(array, kind, to), to
        except pa.ArrowInvalid:
            if to == TEXT:
                raise
            to = broader(to)
