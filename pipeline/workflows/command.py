"""The step that runs a program: `command:` in a schedule file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from pipeline import targets
from pipeline.adapters import programs
from pipeline.db import transaction
from pipeline.errors import PermanentError, TransientError
from pipeline.handle import RunHandle
from pipeline.report import Scalar
from pipeline.schedule import RETRIES
from pipeline.services import steps
from pipeline.settings import PREFIX, environment
from pipeline.targets import Command
from pipeline.tasks import step
from pipeline.timing import format_duration, parse_duration

# The exit code that asks for another try, later (EX_TEMPFAIL of sysexits.h).
TRY_AGAIN = 75
# Seconds: Celery's limit must never come before the program's own, which ends it with all it has started.
NEVER = (366 * 86_400, 366 * 86_400 + 60)
# Seconds between two times at which the output so far is kept, for those who watch.
KEEP = 10.0


class ProgramFailed(PermanentError):
    """The program said so; a traceback of ours would tell nobody anything."""

    trace = ""


class ProgramAsksAgain(TransientError):
    """The program asks for another try."""

    trace = ""


@step(retry=RETRIES["command"], limits=NEVER)
def command(run: RunHandle) -> dict[str, int]:
    """Run the program to its end; what it wrote is kept on the attempt. Done twice if its worker dies half-way."""
    declared = run.definition.command
    if declared is None:
        raise PermanentError(f"the schedule {run.name} names no command")
    words = [targets.written(targets.filled(word, run.placeholders)) for word in declared.run]
    limit = parse_duration(declared.time_limit)
    watch = _Watch(run)
    try:
        ended = programs.run(
            words,
            folder=run.home / targets.written(targets.filled(declared.cwd or "", run.placeholders)),
            environment=_environment(run, declared, run.placeholders),
            limit=limit.total_seconds(),
            look=watch.look,
        )
    finally:
        watch.keep()
    if ended.too_long:
        raise ProgramFailed(f"{words[0]} took longer than its time limit of {format_duration(limit)} and was ended")
    if ended.code != 0:
        said = f": {ended.output.last_line}" if ended.output.last_line else ", without a word"
        raise (ProgramAsksAgain if ended.code == TRY_AGAIN else ProgramFailed)(f"{words[0]}: {ended.words}{said}")
    return {"exit": 0}


def _environment(run: RunHandle, declared: Command, known: Mapping[str, Scalar]) -> dict[str, str]:
    """The worker's own, the run's values, and what the file says over both."""
    given = {**os.environ, f"{PREFIX}HOME": str(run.home), **targets.variables(known)}
    try:
        said = {name: targets.resolved(text, known, environment()) for name, text in declared.environment.items()}
    except KeyError as missing:
        raise PermanentError(
            f"command.environment needs ${missing.args[0]}: set {missing.args[0]} in the workers' environment or .env"
        ) from None
    return given | said


class _Watch:
    """Looks whether the step may go on, and keeps what the program has written: now and then, and in the end."""

    def __init__(self, run: RunHandle) -> None:
        self._run, self._size, self._kept = run, 0, -KEEP  # the first words at once
        self._output = programs.Output()

    def look(self, output: programs.Output) -> None:
        self._output = output
        if output.size > self._size and time.monotonic() - self._kept >= KEEP:
            self._size, self._kept = output.size, time.monotonic()
            with suppress(SQLAlchemyError), transaction(durable=False) as session:  # for those who watch: no matter
                steps.keep_output(session, self._run.attempt_id, output.text)
        self._run.alive()

    def keep(self) -> None:
        if self._output.size:
            self._run.keep_output(self._output.text)
