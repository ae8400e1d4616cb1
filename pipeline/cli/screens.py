"""How one run looks on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipeline import timing
from pipeline.cli import tables
from pipeline.services.answers import RunDetail, RunSummary, wording

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipeline.services.answers.detail import AttemptDetail, DeliveryProblem, StepDetail

# Reasons why documents or deliveries went wrong, and events; a screen has no room for more.
STORIES = 10
# Steps of one kind that are listed one by one; of more, those that went well are one line.
FEW = 4
# Lines of a program's output.
LINES = 12


def show_run(found: RunDetail, *, attempts: bool, traceback: bool, output: bool) -> None:
    """Print the run; with `attempts` every try, with `traceback` where each failed one failed, `output` as a whole."""
    out = tables.console()
    out.print(_heading(found.run))
    out.print(tables.pairs(list(_facts(found))))
    _section(out, "Steps", _steps(found))
    if attempts or traceback:
        _section(out, "Attempts", _attempts(found.attempts))
    if traceback:
        _tracebacks(out, found.attempts)
    _outputs(out, found.attempts, whole=output)
    _documents(out, found)
    _deliveries(out, found)
    if found.events:
        _section(out, "History", _events(found))
    out.print()
    out.print(tables.words("Next: ", "bold").append_text(tables.hint(found.next)))


def _section(out: Console, title: str, body: Any) -> None:
    out.print()
    out.print(tables.words(title, "bold"))
    out.print(body)


def _heading(run: RunSummary) -> Text:
    found = tables.words(f"{run.title}, {run.period['title']}: ", "bold").append_text(tables.status(run.status))
    if run.waiting_for:
        found.append_text(tables.words(f" for {run.waiting_for}", "yellow"))
    return found


def _facts(found: RunDetail) -> Iterator[tuple[str, object]]:
    run = found.run
    yield "run", f"{run.id} of {run.schedule}" + (f", generation {found.generation}" if found.generation > 1 else "")
    yield ("due" if run.trigger in {"schedule", "backfill"} else "opened"), wording.moment(run.due_at, run.zone)
    yield "why", _why(run)
    yield "period", f"{run.period['label']}: {_day(run, 'start')} to {_day(run, 'end')} (not included)"
    yield "params", ", ".join(f"{name}={value}" for name, value in found.params.items())
    yield "scope", ", ".join(_scope(found.scope))
    yield ("took" if run.finished_at else "since"), _took(run)
    waits = run.status == "waiting"
    said = run.error or ("other runs of its schedule or backfill come first" if run.waiting_for == "slot" else "")
    yield "waits" if waits else "error", tables.words(said, "yellow" if waits else "red") if said else ""


def _why(run: RunSummary) -> str:
    said = {
        "schedule": "its schedule, fired by",
        "manual": "triggered by hand by",
        "api": "triggered by",
        "backfill": "backfilled by",
    }
    return f"{said.get(run.trigger, run.trigger)} {run.triggered_by}"


def _day(run: RunSummary, side: str) -> str:
    from datetime import datetime

    at = datetime.fromisoformat(run.period[side])
    zone = run.period["zone"]
    midnight = wording.clock_time(at, zone) == "00:00:00"
    return wording.day(at, zone) + ("" if midnight else f" {wording.clock_time(at, zone)[:5]}")


def _scope(scope: dict[str, Any]) -> Iterator[str]:
    if scope.get("keys"):
        yield f"only {wording.listed(scope['keys'])}"
    if scope.get("to"):
        yield f"to {wording.listed(scope['to'])} instead of its recipients"
    if not scope.get("send", True):
        yield "nothing is sent"
    if scope.get("now"):
        yield "without waiting for its data"


def _took(run: RunSummary) -> str:
    if run.started_at is None:
        return ""
    began = wording.clock_time(run.started_at, run.zone)
    if run.finished_at is None or run.seconds is None:
        return f"{began}, not finished"
    return f"{wording.lasted(run.seconds)}, from {began} to {wording.clock_time(run.finished_at, run.zone)}"


def _steps(found: RunDetail) -> Table:
    made = tables.table(
        "step", "status", "tries", "took", "retry", right=("tries", "took"), whole=("status", "tries", "took")
    )
    for _, same in groupby(found.steps, key=lambda step: step.kind):
        for row in _rows(list(same), found.run):
            made.add_row(*row)
    return made


def _rows(steps: Sequence[StepDetail], run: RunSummary) -> Iterator[tuple[Any, ...]]:
    """One row a step; of many of one kind, those that went well or have not begun share one."""
    if len(steps) > FEW:
        for status in ("succeeded", "pending", "queued", "cancelled"):
            quiet = [step for step in steps if step.status == status and not step.next_try_at and not step.waits]
            if len(quiet) > 1:
                yield _many(quiet)
                steps = [step for step in steps if step not in quiet]
        yield from _waiting([step for step in steps if step.waits])
        steps = [step for step in steps if not step.waits]
    for step in steps:
        yield _one(step, run)


def _waiting(steps: Sequence[StepDetail]) -> Iterator[tuple[Any, ...]]:
    """Those that wait for a place wait for the same ones: they share a row."""
    for said, same in groupby(steps, key=lambda step: step.waits or ""):
        name, status, tries, took, policy = _many(found := list(same))
        waits = policy.append_text(tables.words(f"\n{said}", "yellow"))
        yield tables.words(found[0].name) if len(found) == 1 else name, status, tries, took, waits


def _many(steps: Sequence[StepDetail]) -> tuple[Any, ...]:
    name = f"{steps[0].kind}: {len(steps)} of them"
    begun, ended = (
        [one.started_at for one in steps if one.started_at],
        [one.finished_at for one in steps if one.finished_at],
    )
    took = wording.lasted((max(ended) - min(begun)).total_seconds()) if begun and ended else ""
    tries = sum(step.tries for step in steps)
    return (
        tables.words(name),
        tables.status(steps[0].status),
        str(tries or "-"),
        took,
        tables.words(_policy(steps[0]), "dim"),
    )


def _one(step: StepDetail, run: RunSummary) -> tuple[Any, ...]:
    both = step.started_at and step.finished_at
    took = wording.lasted((step.finished_at - step.started_at).total_seconds()) if both else ""  # type: ignore[operator]
    tries = f"{step.tries}/{step.retry['attempts']}" if step.tries else "-"
    return tables.words(step.name), tables.status(step.status), tries, took, _what_about(step, run)


def _what_about(step: StepDetail, run: RunSummary) -> Text:
    """The retry policy, the next try, and the error unless the run's own error says it already."""
    found = tables.words(_policy(step), "dim")
    if step.next_try_at and step.status == "queued" and run.waiting_for != "approval":
        parked = step.outcomes.get("parked", 0)
        vain = f", after {parked} in vain" if parked else ""
        found.append_text(tables.words(f"\nnext try {wording.clock_time(step.next_try_at, run.zone)}{vain}", "yellow"))
    if step.waits:
        found.append_text(tables.words(f"\n{step.waits}", "yellow"))
    if step.worker:
        found.append_text(tables.words(f"\non {_process(step.worker)}", "dim"))
    if step.error and step.error not in (run.error or ""):
        found.append_text(tables.words(f"\n{step.error}", "red"))
    return found


def _process(owner: str) -> str:
    """`worker-1, process 4711` of an owner's name: host, boot, process and its start."""
    host, _, number, _ = owner.rsplit("/", 3) if owner.count("/") >= 3 else (owner, "", "", "")
    return f"{host}, process {number}" if number else host


def _policy(step: StepDetail) -> str:
    """How long it waits between its tries: the first wait, by what each next one is multiplied, and up to what."""
    retry = step.retry
    if retry.get("attempts", 1) <= 1:
        return "no second try"
    first, factor, ceiling = retry.get("first", 0), retry.get("factor", 1), retry.get("ceiling")
    grows = f" ×{factor:g}" if factor > 1 else ""  # noqa: RUF001 - a multiplication sign
    return f"{timing.format_duration(first)}{grows}" + (
        f" up to {timing.format_duration(ceiling)}" if grows and ceiling else ""
    )


def _attempts(attempts: Sequence[AttemptDetail]) -> Table:
    rerun = ("generation",) if any(one.generation > 1 for one in attempts) else ()
    short = ("try", *rerun, "outcome", "took")
    made = tables.table("step", *short, "worker, error", right=("try", *rerun, "took"), whole=short)
    for one in attempts:
        took = wording.lasted((one.finished_at - one.started_at).total_seconds()) if one.finished_at else ""
        said = tables.words(_process(one.worker), "dim")
        if one.error:
            said.append_text(tables.words(f"\n{one.error}", "red"))
        of = [str(one.generation)] if rerun else []
        made.add_row(tables.words(one.step), str(one.number), *of, tables.status(one.outcome), took, said)
    return made


def _tracebacks(out: Console, attempts: Sequence[AttemptDetail]) -> None:
    for one in attempts:
        if one.traceback:
            out.print()
            out.print(tables.words(f"{one.step}, try {one.number}", "bold"))
            # Whole lines, however narrow the terminal is: paths are copied from here.
            out.print(tables.words(one.traceback.rstrip()), soft_wrap=True)


def _outputs(out: Console, attempts: Sequence[AttemptDetail], *, whole: bool) -> None:
    """What programs wrote: of every try, or the end of what the last one did."""
    said = [one for one in attempts if one.output]
    for one in said if whole else said[-1:]:
        lines = str(one.output).rstrip("\n").splitlines()
        shown = lines if whole else lines[-LINES:]
        out.print()
        out.print(tables.words(f"Output of {one.step}, try {one.number}", "bold"))
        if len(lines) > len(shown):
            out.print(tables.words(f"… {len(lines) - len(shown):,} lines before it: --output shows all", "dim"))
        out.print(tables.words("\n".join(shown)), soft_wrap=True)


def _documents(out: Console, found: RunDetail) -> None:
    rows = [(_and_others(one.key, one.others), one.status, one.error or "") for one in found.document_problems]
    told = len(rows) + sum(one.others for one in found.document_problems)
    _problems(
        out,
        "Documents",
        found.run.documents,
        rows,
        found.run.documents["failed"] + found.run.documents["skipped"] - told,
    )


def _deliveries(out: Console, found: RunDetail) -> None:
    counts, problems = found.run.deliveries, found.delivery_problems
    rows = [
        (_and_others(f"{one.key}, {one.address}", one.others), one.status, _reason(one, found.run)) for one in problems
    ]
    wrong = sum(counts.values()) - counts["accepted"] if found.run.over else 0
    _problems(out, "Deliveries", counts, rows, wrong - len(rows) - sum(one.others for one in problems))


def _and_others(name: str, others: int) -> str:
    return f"{name} and {others:,} more" if others else name


def _reason(one: DeliveryProblem, run: RunSummary) -> str:
    # A person may have decided since the relay answered.
    answered = one.reply and one.reason in {None, one.reply}
    said = f"relay {one.relay}: {one.reply}" if answered else one.reason or ""
    again = (
        f"\nnext try {wording.clock_time(one.not_before, run.zone)}"
        if one.not_before and one.status == "deferred"
        else ""
    )
    return said + again


def _problems(
    out: Console, what: str, counts: dict[str, int], rows: Sequence[tuple[str, str, str]], untold: int
) -> None:
    """Print how many stand where, and under it those that went wrong; `untold` more have no room here."""
    from rich.padding import Padding

    if not any(counts.values()):
        return
    out.print()
    out.print(tables.words(f"{what}: ", "bold").append_text(tables.statuses(counts)))
    made = tables.table("", "", "")
    made.show_header = False
    for name, status, why in rows:
        made.add_row(tables.words(name), tables.status(status), tables.words(why))
    if rows:
        out.print(Padding(made, (0, 0, 0, 2)))
    if untold > 0:
        out.print(tables.words(f"  … and {untold:,} more: --json has all", "dim"))


def _events(found: RunDetail) -> Table:
    made = tables.table("at", "what", whole=("at",))
    made.show_header = False
    for event in found.events[-STORIES:]:
        made.add_row(wording.clock_time(event.at, found.run.zone), tables.words(f"{event.kind}: {event.text}"))
    return made
