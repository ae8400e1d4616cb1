"""What the parameters of a run are: what was given, over what schedule and report say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from pipeline import schedule
from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.report import Report, Scalar


def parameters(definition: schedule.Schedule, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The report's defaults, under the schedule's values, under those of the trigger.

    Raises Refused for one that the report does not have, or of the wrong type.
    """
    if definition.kind == "workflow":  # its own signature says what it takes
        return {**definition.params, **given}
    defaults = definition.report.params if isinstance(definition.report, Report) else definition.params
    for name in {**definition.params, **given}:
        if name not in defaults:
            known = (
                f"known parameters: {', '.join(sorted(defaults))}"
                if defaults
                else f"the {definition.kind} has no parameters"
            )
            hint = did_you_mean(name, defaults, known)
            raise Refused(f'there is no parameter "{name}": {hint}', field=f"params.{name}")
    merged = {**definition.params, **given}
    return {**defaults, **{name: _like(name, value, defaults[name]) for name, value in merged.items()}}


def _like(name: str, value: Scalar, default: Scalar) -> Scalar:
    """`value`, which may be text from a command line, as the type of the parameter's default."""
    field = f"params.{name}"
    if not isinstance(value, str | int | float | None):
        raise Refused(
            f"parameter {name}={json.dumps(value, default=str)}: must be one value, not a list or mapping", field=field
        )
    if default is None or value is None:
        return value
    if isinstance(default, str):
        return str(value)
    if isinstance(default, bool):
        said = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(value).lower())
        if said is None:
            raise Refused(f'parameter {name}="{value}": must be true or false', field=field)
        return said
    try:
        return _number(value, type(default))
    except ValueError:
        wanted = "a whole number" if isinstance(default, int) else "a number"
        wrong = f'parameter {name}="{value}": must be {wanted}, as its default {default} is'
        raise Refused(wrong, field=field) from None


def _number(value: str | float, kind: type[int | float]) -> int | float:
    """Raises ValueError for what is not a number of that kind: no half is cut off, and infinity is none."""
    number = kind(value)
    if isinstance(value, bool) or not math.isfinite(number) or (isinstance(value, float) and number != value):
        raise ValueError(value)
    return number
