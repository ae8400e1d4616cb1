"""Celery's own words for what comes next, read into rows: chains, chords, groups, and single steps."""

from __future__ import annotations

import json
from typing import Any

from celery import group
from celery.canvas import Signature, _chain, _chord

from pipeline.errors import PermanentError, Refused
from pipeline.handle import RunHandle
from pipeline.schedule import Schedule
from pipeline.services import canvases, runs
from pipeline.tasks.registry import STEPS

# What a step returns is kept on its row and handed on; larger things are files.
LARGEST_RESULT = 64 * 1024


def read(returned: Any, handle: RunHandle) -> tuple[Any, list[list[canvases.Planned]]]:
    """What a step returned: a result to keep, or the stages of the canvas to run next."""
    if isinstance(returned, Signature):
        return None, [[_planned(one, handle.definition) for one in stage] for stage in stages_of(returned)]
    if isinstance(returned, runs.Verdict):
        return returned, []
    try:
        size = len(json.dumps(returned, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PermanentError(f"step {handle.claim.step.name} returned what is not JSON: {error}") from None
    if size > LARGEST_RESULT:
        raise PermanentError(
            f"step {handle.claim.step.name} returned {size:,} bytes: use run.put(name, file) above 64 kB"
        )
    return returned, []


def stages_of(canvas: Signature) -> list[list[Signature]]:
    """The stages of a chain, chord, group or single step, in order.

    Raises Refused for a group whose members are not single steps: rows know one line of stages.
    """
    if isinstance(canvas, _chord):
        return [_members(canvas.tasks), *stages_of(canvas.body)]
    if isinstance(canvas, group):
        return [_members(canvas.tasks)]
    if isinstance(canvas, _chain):
        return [stage for one in canvas.tasks for stage in stages_of(one)]
    return [[canvas]]


def _members(members: Any) -> list[Signature]:
    found = list(members.tasks if isinstance(members, group) else members)
    for one in found:
        if isinstance(one, _chain | _chord | group):
            raise Refused("a group's members must be single steps: put what follows behind the group")
    if not found:
        raise Refused("a group is empty: leave it out, or skip the run")
    return found


def _planned(signature: Signature, definition: Schedule) -> canvases.Planned:
    if signature.task not in STEPS:
        raise Refused(f'"{signature.task}" is not a step: decorate the function with @step')
    declared = STEPS[signature.task]
    said = [str(one) for one in (*signature.args, *signature.kwargs.values())]
    return canvases.Planned(
        name=":".join([declared.kind, *said]),
        task=signature.task,
        args=json.loads(json.dumps(signature.args, default=str)),
        kwargs=json.loads(json.dumps(signature.kwargs, default=str)),
        takes_results=not signature.immutable,
        tolerated=declared.tolerated,
        queue=declared.queue,
        pool=definition.pool_for(declared.kind, signature.options.get("pool")),
        retry=definition.retry_for(declared.kind, declared.retry),
    )
