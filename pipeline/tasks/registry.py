"""Steps and workflows by their names, as their files declare them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.celery import broken_workflows
from pipeline.errors import DefinitionError, PermanentError, Refused
from pipeline.mistakes import did_you_mean
from pipeline.retry import Retry
from pipeline.settings import settings

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class StepDefinition:
    """A step as its @step declares it."""

    function: Callable[..., Any]
    retry: Retry
    queue: str
    tolerated: bool

    @property
    def kind(self) -> str:
        return self.function.__name__


STEPS: dict[str, StepDefinition] = {}
WORKFLOWS: dict[str, Callable[..., Any]] = {}


def workflow(function: Function) -> Function:
    """Make a function `(run, typed parameters…) -> canvas` a workflow, found by its name."""
    check_new(function.__name__, function, WORKFLOWS.get(function.__name__))
    WORKFLOWS[function.__name__] = function
    return function


def check_new(name: str, function: Callable[..., Any], known: Callable[..., Any] | None) -> None:
    """Raises DefinitionError for a name that another module has taken: one of the two would never be run."""
    if known is not None and known.__module__ != function.__module__:
        raise DefinitionError(f'"{name}" is taken by {known.__module__}.{known.__name__}: give it another name')


def find_workflow(name: str) -> Callable[..., Any]:
    """The workflow called `name`. Raises PermanentError with those that exist."""
    if name not in WORKFLOWS:
        hint = did_you_mean(name, WORKFLOWS, f"known workflows: {', '.join(sorted(WORKFLOWS))}")
        file = f"{name}.py"
        late = (settings().home / "workflows" / file).is_file() and file not in broken_workflows
        told = [f"workflows/{file} is there, but was not when this worker started: restart the workers"] if late else []
        raise PermanentError("; ".join([f'there is no workflow "{name}": {hint}', *told, *broken_workflows.values()]))
    return WORKFLOWS[name]


def bound_parameters(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow's parameters by the types of its signature. Raises Refused for one that is unknown or wrong."""
    from pydantic import TypeAdapter, ValidationError

    known = {
        one.name: one for one in list(inspect.signature(find_workflow(name), eval_str=True).parameters.values())[1:]
    }
    for parameter in given.keys() - known.keys():
        hint = did_you_mean(parameter, known, f"known parameters: {', '.join(known) or 'none'}")
        raise Refused(f'there is no parameter "{parameter}": {hint}', field=f"params.{parameter}")
    bound = {}
    for parameter, one in known.items():
        if parameter not in given and one.default is inspect.Parameter.empty:
            missing = f'parameter "{parameter}" is missing: give it with -p {parameter}=…'
            raise Refused(missing, field=f"params.{parameter}")
        if parameter in given:
            kind = Any if one.annotation is inspect.Parameter.empty else one.annotation
            try:
                bound[parameter] = TypeAdapter(kind).validate_python(given[parameter])
            except ValidationError as error:
                wrong = f'parameter {parameter}="{given[parameter]}": {error.errors()[0]["msg"]}'
                raise Refused(wrong, field=f"params.{parameter}") from None
    return bound
