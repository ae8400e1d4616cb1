"""Runs as rows: opening one for a slot or a trigger, naming one, and closing it."""

from pipeline.services.runs.binding import parameters
from pipeline.services.runs.ending import Verdict, apply, cancel, close, close_leftovers, close_part, close_stopped
from pipeline.services.runs.finding import find
from pipeline.services.runs.lasting import allow_time, end_waiting_for_data, go_on, out_of_time, stop_if_out_of_time
from pipeline.services.runs.opening import (
    READY_TASK,
    START_TASK,
    Request,
    add,
    add_all,
    draft,
    open_run,
    period_of,
    refuse_a_second,
)
from pipeline.services.runs.rows import (
    being_cancelled,
    goes_on,
    is_final,
    is_over,
    last_event,
    lock,
    lock_to_close,
    note,
)

__all__ = [
    "READY_TASK",
    "START_TASK",
    "Request",
    "Verdict",
    "add",
    "add_all",
    "allow_time",
    "apply",
    "being_cancelled",
    "cancel",
    "close",
    "close_leftovers",
    "close_part",
    "close_stopped",
    "draft",
    "end_waiting_for_data",
    "find",
    "go_on",
    "goes_on",
    "is_final",
    "is_over",
    "last_event",
    "lock",
    "lock_to_close",
    "note",
    "open_run",
    "out_of_time",
    "parameters",
    "period_of",
    "refuse_a_second",
    "stop_if_out_of_time",
]
