"""Whether a program or a Celery task that a schedule names can be started from here."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pipeline import targets
from pipeline.authoring.check.code import check_kinds
from pipeline.authoring.check.faults import Fault, Subject
from pipeline.schedule import Schedule
from pipeline.settings import environment, settings

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})


def check_command(subject: Subject, notes: list[Fault]) -> None:
    """Check a command; that its program is not on this machine is a note, since workers may run on others."""
    command = subject.schedule.command
    if command is None:
        return
    for name, value in command.environment.items():
        for missing in set(targets.variables_in(value)) - environment().keys():
            subject.fault(f"command.environment.{name}", _unset(missing))
    check_kinds(subject, ["command"])
    notes += [Fault(subject.file.place, "command", said) for said in _doubts(subject.schedule, command)]


def words(definition: Schedule) -> Iterator[str]:
    """What a command or task is, beyond its name."""
    if definition.command:
        yield textwrap.shorten(shlex.join(definition.command.run), 60, placeholder=" …")
    if definition.task and definition.task.queue != "celery":
        yield f'in the queue "{definition.task.queue}"'


def _doubts(schedule: Schedule, command: targets.Command) -> Iterator[str]:
    program = command.run[0]
    if not targets.names_in(program) and _found(program, command) is None:
        yield f'the program "{program}" is not on this machine: workers need it'
    folder = command.cwd or ""
    if not targets.names_in(folder) and not (settings().home / folder).is_dir():
        yield f'its folder "{folder}" is not on this machine: workers need it'
    if Path(program).name in SHELLS and "-c" in command.run:
        pasted = sorted({name for word in command.run for name in targets.names_in(word)} & schedule.params.keys())
        for name in pasted:
            variable = next(iter(targets.variables({name: None})))
            yield f'a shell would run what is in {{{name}}}: write "${variable}" instead'


def _found(program: str, command: targets.Command) -> str | None:
    folder = settings().home / (command.cwd or "")
    path = command.environment.get("PATH", environment().get("PATH"))
    # As execvp(3) does: a name with a slash is a path, and a relative one starts in the working directory.
    return shutil.which(folder / program if "/" in program else program, path=path)


def check_task(subject: Subject) -> None:
    """Check a task; whether a worker knows it is seen when it is sent."""
    task = subject.schedule.task
    if task is None:
        return
    if task.results and task.results.startswith("$") and task.results[1:] not in environment():
        subject.fault("task.results", _unset(task.results[1:]))
    check_kinds(subject, ["task"])


def _unset(name: str) -> str:
    return f"{name} is not set: set it in the environment or in .env"
