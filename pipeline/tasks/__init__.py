"""The engine of steps and workflows, and the tasks that open runs and answer for them."""

from pipeline.tasks.calls import approve, cancel, reject, start, status
from pipeline.tasks.canvas import LARGEST_RESULT, stages_of
from pipeline.tasks.engine import act_and_record, step
from pipeline.tasks.opening import open_run, rerun, trigger
from pipeline.tasks.publishing import failed, publish, publish_all
from pipeline.tasks.registry import STEPS, WORKFLOWS, StepDefinition, bound_parameters, find_workflow, workflow

__all__ = [
    "LARGEST_RESULT",
    "STEPS",
    "WORKFLOWS",
    "StepDefinition",
    "act_and_record",
    "approve",
    "bound_parameters",
    "cancel",
    "failed",
    "find_workflow",
    "open_run",
    "publish",
    "publish_all",
    "reject",
    "rerun",
    "stages_of",
    "start",
    "status",
    "step",
    "trigger",
    "workflow",
]
