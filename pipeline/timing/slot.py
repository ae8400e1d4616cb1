"""One due instant of a schedule, and what was done to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SlotKind(StrEnum):
    """Whether a slot fires at its own time, at another since that time cannot be, or does not fire."""

    ON_TIME = "on_time"
    SHIFTED = "shifted"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Slot:
    """One due instant (UTC). `note` says in a sentence what the clocks or a calendar did to it, or is empty.

    Dropped times share a slot: those lost in one jump of the clocks the instant of the jump, those of one excluded day
    the instant of the first.
    """

    due_at: datetime
    kind: SlotKind = SlotKind.ON_TIME
    note: str = ""

    @property
    def fires(self) -> bool:
        """Whether a run is due, or only a row that says why there is none."""
        return self.kind is not SlotKind.DROPPED


def merged(*slots: Slot) -> Slot:
    """The one slot for all that is due at one instant: it fires if any does, and keeps what is said of each."""
    order = list(SlotKind)
    kind = min((slot.kind for slot in slots), key=order.index)
    return Slot(slots[0].due_at, kind, "; ".join(dict.fromkeys(slot.note for slot in slots if slot.note)))
