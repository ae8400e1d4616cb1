"""Arguments and options that several commands share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.group import AS_JSON

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from pipeline.services.audit import Actor


def _noted(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[AS_JSON] = value
    return value


Json = Annotated[
    bool,
    typer.Option("--json", help="For machines: JSON, with full ids and UTC times.", callback=_noted, is_eager=True),
]
RunText = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="An id's beginning, a task id, NAME or NAME@DAY. Default: the latest run."),
]
Since = Annotated[str | None, typer.Option("--since", metavar="30d", help="A length of time, or a day: 2026-11-01.")]

By = Annotated[str | None, typer.Option("--by", metavar="WHO", help="Who asks for it. Default: you@this-host.")]


@contextmanager
def looking() -> Iterator[Session]:
    """A session that only reads. Raises Refused when there is no database file: looking makes none."""
    check_database()
    from pipeline.db import reading

    with reading() as session:
        yield session


def check_database() -> None:
    """Raises Refused, with what makes one, when the home's own SQLite database is not there."""
    from pathlib import Path

    from pipeline.errors import Refused
    from pipeline.settings import settings

    file = settings().database_url.removeprefix("sqlite:///")
    if file == settings().database_url or Path(file).exists():
        return
    home = settings().home
    wrong = (
        "" if (home / "schedules").is_dir() else f"; {home} has no schedules/: is it the right home (PIPELINE_HOME)?"
    )
    raise Refused(f"there is no database {file} yet: `pipeline up` or `pipeline migrate` makes it{wrong}")


def earliest(since: str | None) -> datetime | None:
    """The instant (UTC) that `since` means, a day or time being local to PIPELINE_TIMEZONE. Raises Refused."""
    if since is None:
        return None
    from pipeline.cli import instants
    from pipeline.settings import settings

    return instants.read("--since", since, settings().timezone)


def actor(by: str | None = None) -> Actor:
    """Who types, for the record: `by`, or the system's user and host."""
    import getpass
    import socket

    from pipeline.models import Door
    from pipeline.services.audit import Actor

    host = socket.gethostname()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in /etc/passwd
        user = "unknown"
    return Actor(by or f"{user}@{host}", Door.CLI, host)


def parameters(words: Sequence[str]) -> dict[str, str]:
    """What `-p KEY=VALUE` says, by its key. Raises Refused for one without a key or a `=`."""
    from pipeline.errors import Refused

    wrong = next((word for word in words if "=" not in word.lstrip("=")), None)
    if wrong is not None:
        raise Refused(f'-p "{wrong}": write it as KEY=VALUE')
    return dict(word.split("=", 1) for word in words)


def print_json(value: Any) -> None:
    """`value`, an answer or what answers hold, as JSON on standard output."""
    import json

    from pipeline.services.answers import as_json

    typer.echo(json.dumps(as_json(value), indent=2, ensure_ascii=False))


def print_json_with(value: Any, name: str, rows: Iterable[Any]) -> None:
    """The same, its list `name` filled with `rows` as they come: there may be a million."""
    import json

    from pipeline.services.answers import as_json

    before, after = json.dumps(as_json(value), indent=2, ensure_ascii=False).split(f'"{name}": []')
    between = f'{before}"{name}": ['
    for row in rows:
        text = json.dumps(as_json(row), indent=2, ensure_ascii=False).replace("\n", "\n    ")
        typer.echo(f"{between}\n    {text}", nl=False)
        between = ","
    typer.echo(f"\n  ]{after}" if between == "," else f"{between}]{after}")
