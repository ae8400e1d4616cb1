"""The form that runs a schedule now: a field for each parameter, made from what the report or workflow takes."""

from __future__ import annotations

import inspect
import re
import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pipeline import tasks
from pipeline.celery import load_workflows
from pipeline.console.visitors import Form
from pipeline.errors import PipelineError
from pipeline.report import Report, Scalar
from pipeline.schedule import Schedule

PREFIX = "p."


@dataclass(frozen=True)
class Field:
    """A parameter: `kind` is text, number, whole, or choice among `choices`; `value` is what it is without a wish."""

    name: str
    kind: str
    value: str
    choices: tuple[str, ...] = ()
    required: bool = False


def once() -> str:
    """What tells a form that is sent twice from two forms."""
    return secrets.token_urlsafe(12)


def words(text: str) -> list[str]:
    """Keys or addresses, one a line or separated by commas; a key may have blanks in it."""
    return [word for word in (part.strip() for part in re.split(r"[,\n]+", text)) if word]


def fields(definition: Schedule) -> list[Field]:
    """A field for each parameter that the schedule's report or workflow takes."""
    if definition.kind == "workflow":
        return _of_workflow(definition)
    known = definition.report.params if isinstance(definition.report, Report) else definition.params
    return [_field(name, type(value), {**known, **definition.params}[name]) for name, value in known.items()]


def answers(form: Form, definition: Schedule | None) -> dict[str, Scalar]:
    """What was changed in the form; what was left as it is stays the schedule's own."""
    usual = {field.name: field.value for field in fields(definition)} if definition else {}
    return {name: value for name, value in form.starting(PREFIX).items() if usual.get(name) != value}


def _of_workflow(definition: Schedule) -> list[Field]:
    try:
        load_workflows()
        signature = inspect.signature(tasks.find_workflow(str(definition.workflow)), eval_str=True)
    except (PipelineError, NameError, TypeError):  # the team's own code: the page is there without its fields
        return []
    found = []
    for one in list(signature.parameters.values())[1:]:
        default = definition.params.get(one.name, one.default)
        missing = default is inspect.Parameter.empty
        found.append(_field(one.name, one.annotation, None if missing else default, required=missing))
    return found


def _field(name: str, kind: Any, value: Any, *, required: bool = False) -> Field:
    if isinstance(value, bool) or kind is bool:
        return Field(name, "choice", str(bool(value)).lower(), ("true", "false"), required)
    if get_origin(kind) is Literal:
        return Field(name, "choice", str(value), tuple(map(str, get_args(kind))), required)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return Field(
            name, "choice", str(getattr(value, "value", value)), tuple(str(one.value) for one in kind), required
        )
    shape = "whole" if kind is int else "number" if kind is float else "text"
    return Field(name, shape, "" if value is None else str(value), (), required)
