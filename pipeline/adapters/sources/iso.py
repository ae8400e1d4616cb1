"""Dates and instants that a source without such types (SQLite, JSON, CSV) writes as ISO 8601 text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.sources.instants import to_utc, to_wall

_DAY = r"\d{4}-\d\d-\d\d"
_FORM = re.compile(rf"{_DAY}(?:(?P<joint>[ T])\d\d:\d\d:\d\d(?P<fraction>\.\d{{1,6}})?(?P<zone>Z|[+-]\d\d:\d\d)?)?")


@dataclass(frozen=True)
class Iso:
    """One way of writing dates or instants, kept so that a column can be turned back into the text it was.

    `joint` stands between date and time (empty: dates only), `digits` is how many a fraction of a second has, `offset`
    is empty, `Z` or `±` for written-out offsets. Times without an offset are wall times in `zone`.
    """

    joint: str
    digits: int
    offset: str
    zone: tzinfo = UTC

    @classmethod
    def of(cls, sample: str, zone: tzinfo) -> Self | None:
        """Recognise how `sample` is written; None if it is neither a date nor an instant."""
        form = _FORM.fullmatch(sample)
        if not form:
            return None
        offset = form["zone"] or ""
        return cls(form["joint"] or "", len(form["fraction"] or ".") - 1, "±" if len(offset) > 1 else offset, zone)

    @property
    def type(self) -> Any:
        return pa.timestamp("us", "UTC") if self.joint else pa.date32()

    def parse(self, text: Any) -> Any | None:
        """Give text as dates or UTC instants; None if a value is written otherwise, or is not a date (2026-02-30)."""
        if not pc.all(pc.match_substring_regex(text, self._pattern)).as_py():
            return None
        try:
            if not self.joint or self.offset:
                return text.cast(self.type)

            return to_utc(text.cast(pa.timestamp("us")), self.zone)
        except pa.ArrowInvalid:
            return None

    def text(self, array: Any) -> Any:
        """Write values the way `parse` read them (offsets as +00:00)."""
        if not self.joint:
            return array.cast(pa.string())

        wall = to_wall(array, UTC if self.offset else self.zone).cast(pa.string())
        short = pc.utf8_slice_codeunits(wall, 0, 20 + self.digits if self.digits else 19)
        joined = pc.replace_substring(short, " ", self.joint)
        return pc.binary_join_element_wise(joined, pa.scalar({"±": "+00:00"}.get(self.offset, self.offset)), "")

    @property
    def _pattern(self) -> str:
        if not self.joint:
            return f"^{_DAY}$"
        fraction = rf"\.\d{{{self.digits}}}" if self.digits else ""
        offset = r"[+-]\d\d:\d\d" if self.offset == "±" else self.offset
        return rf"^{_DAY}{self.joint}\d\d:\d\d:\d\d{fraction}{offset}$"
