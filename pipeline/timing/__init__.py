"""Time as a pure domain: durations, periods, and when a schedule is due; nothing here reads a clock."""

from pipeline.timing.calendars import KINDS_OF_DAYS, Calendar, CalendarError
from pipeline.timing.cron import Cron
from pipeline.timing.describe import describe
from pipeline.timing.due import next_after, slots_after, slots_between
from pipeline.timing.durations import format_duration, parse_duration
from pipeline.timing.period_specs import period, validate_period_spec
from pipeline.timing.periods import Period
from pipeline.timing.slot import Slot, SlotKind
from pipeline.timing.specs import EPOCH, At, Every, OnDays, Spec, read_instant
from pipeline.timing.when import spec
from pipeline.timing.zones import day_instant, find_zone, instant_of, to_utc, written_instant

__all__ = [
    "EPOCH",
    "KINDS_OF_DAYS",
    "At",
    "Calendar",
    "CalendarError",
    "Cron",
    "Every",
    "OnDays",
    "Period",
    "Slot",
    "SlotKind",
    "Spec",
    "day_instant",
    "describe",
    "find_zone",
    "format_duration",
    "instant_of",
    "next_after",
    "parse_duration",
    "period",
    "read_instant",
    "slots_after",
    "slots_between",
    "spec",
    "to_utc",
    "validate_period_spec",
    "written_instant",
]
