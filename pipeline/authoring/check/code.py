"""Whether the home's own code fits: build() of a report, the parameters of a workflow."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, signature

from pipeline.adapters import home
from pipeline.authoring.check.faults import Fault, Subject
from pipeline.mistakes import did_you_mean
from pipeline.report import Report
from pipeline.settings import settings

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def check_build(subject: Subject, report: Report, name: str) -> bool:
    """Import reports/<name>.py, if there is one, and compare build()'s arguments with what there is to give."""
    place = f"reports/{name}.py"
    build = None
    with subject.telling("", place):
        build = home.build_for(settings().home, name)
    if build is None:
        return False
    parameters = list(signature(build).parameters.values())
    if len([one for one in parameters if one.kind in _POSITIONAL]) < 2 and not _takes_any(parameters):
        subject.fault("", "build() must take the rows and the period: def build(rows, period)", place)
        return True
    given = [*(other for other in report.sources if other != report.main_source), "params"]
    for one in parameters[2:]:
        if one.kind in {Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL} or one.default is not Parameter.empty:
            continue
        if one.name not in given:
            hint = did_you_mean(one.name, given, f"there are {', '.join(given)}")
            subject.fault("", f'build() asks for "{one.name}", which is not a source of the report: {hint}', place)
    return True


def _takes_any(parameters: list[Parameter]) -> bool:
    return any(one.kind is Parameter.VAR_POSITIONAL for one in parameters)


def check_workflow(subject: Subject) -> None:
    """Check that the workflow a schedule names exists and takes these parameters, and its retries name steps."""
    from pipeline import tasks

    name = subject.schedule.workflow
    if name is None:
        return
    if name not in tasks.WORKFLOWS:
        known = ", ".join(sorted(tasks.WORKFLOWS))
        hint = did_you_mean(name, tasks.WORKFLOWS, f"there are {known}; workflows/*.py of the home adds one")
        subject.fault("workflow", f'"{name}" does not exist: {hint}')
        return
    taken = list(signature(tasks.WORKFLOWS[name]).parameters)[1:]
    for unknown in subject.schedule.params.keys() - set(taken):
        hint = did_you_mean(unknown, taken, f"it takes {', '.join(taken) or 'none'}")
        subject.fault(f"params.{unknown}", f"is no parameter of {name}: {hint}")
    with subject.telling("params"):
        tasks.bound_parameters(name, {one: value for one, value in subject.schedule.params.items() if one in taken})
    check_kinds(subject, sorted({definition.kind for definition in tasks.STEPS.values()}))


def check_kinds(subject: Subject, kinds: list[str]) -> None:
    """Check that every retry and pool of the file is that of a kind of step there is."""
    known = [*kinds, "ready"]
    for field, said in (("retry", subject.schedule.retry), ("pools", subject.schedule.pools)):
        for kind in sorted(said.keys() - set(known)):
            hint = did_you_mean(kind, known, f"there are {', '.join(kinds)}")
            subject.fault(f"{field}.{kind}", f"is no kind of step: {hint}")


def doubtful_pools(subject: Subject) -> Iterator[Fault]:
    """A note for every pool that has no number of places here: it holds nobody back."""
    places = settings().places
    for kind, pool in subject.schedule.pools.items():
        if pool not in places:
            hint = did_you_mean(pool, places, f"PIPELINE_POOLS={pool}=2 gives it two")
            yield Fault(
                subject.file.place, f"pools.{kind}", f'pool "{pool}" has no places, so it limits nothing: {hint}'
            )


def broken_workflows() -> Iterator[Fault]:
    """Import all workflows; a fault for each file of the home that cannot be."""
    from pipeline import celery

    celery.load_workflows()
    for _, sentence in sorted(celery.broken_workflows.items()):
        place, _, reason = sentence.partition(" ")
        yield Fault(place, "", reason)
