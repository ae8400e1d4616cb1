"""A fault: a sentence that names the file, the field in it and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.adapters.home import ScheduleFile
from pipeline.errors import DefinitionError, PipelineError
from pipeline.schedule import Schedule


@dataclass(frozen=True)
class Fault:
    """`place` is a file of the home, `field` a dotted path in it (empty where it is the whole file)."""

    place: str
    field: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.place, f"{self.field} {self.reason}".strip()]))


@dataclass(frozen=True)
class Subject:
    """A schedule file that could be read, while it is checked; faults are added to `faults`."""

    file: ScheduleFile
    faults: list[Fault]

    @property
    def schedule(self) -> Schedule:
        return self.file.schedule

    def fault(self, field: str, reason: str, place: str = "") -> None:
        self.faults.append(Fault(place or self.file.place, field, reason))

    @contextmanager
    def telling(self, field: str, place: str = "") -> Iterator[None]:
        """Turn an error of the pipeline's own raised inside into a fault."""
        try:
            yield
        except DefinitionError as error:
            if error.place:
                self.faults.append(Fault(error.place, error.field, error.reason))
            else:
                self.fault(" ".join(filter(None, [field, error.field])), error.reason, place)
        except PipelineError as error:
            self.fault(field, str(error), place)


def read(error: DefinitionError, place: str) -> Iterator[Fault]:
    """The faults in an error of a schedule file, which may hold a line for each."""
    if error.place:
        yield Fault(error.place, error.field, error.reason)
        return
    for line in str(error).splitlines():
        said = line.removeprefix(f"{place}: ")
        found = re.match(r"([\w.]+) (.+)", said)
        named = found and (found[1].partition(".")[0] in _FIELDS or found[2].startswith("is not a field"))
        field = found[1] if found and named else ""
        yield Fault(place, field, said.removeprefix(field).strip())


_FIELDS = {field.alias or name for name, field in Schedule.model_fields.items()}
