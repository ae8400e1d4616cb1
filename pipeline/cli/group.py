"""How the command line fails: one sentence on standard error, and an exit code that says whose fault it is."""

from __future__ import annotations

import errno
import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

# Set by --json: a machine reads the refusal too.
AS_JSON = "pipeline.as_json"
# What a file answers that is somebody else's, or on a read-only or a full disk: the operator's to mend, no bug of ours.
OF_THE_MACHINE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


class Group(TyperGroup):
    """The commands; what the pipeline refuses is told as a sentence, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Whoever reads has gone, as `| head` does; Python would say so once more at its end.
            sys.stdout = None
            raise typer.Exit(0) from None
        except Exception as error:
            sentence = told(error)
            if sentence is None:
                raise
            refuse(sentence, as_json=bool(ctx.meta.get(AS_JSON)))
            raise typer.Exit(2) from None


def refuse(sentence: str, *, as_json: bool) -> None:
    """Say it to people on standard error and, if asked, to machines on standard output."""
    typer.secho(sentence, err=True, fg="red")
    if as_json:
        import json

        typer.echo(json.dumps({"error": sentence}, ensure_ascii=False))


def told(error: Exception) -> str | None:
    """The error as a sentence for an operator; None for one that is a bug of ours."""
    from pipeline.errors import PipelineError

    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE and error.filename:
        return f"{error.filename}: {error.strerror}; `pipeline doctor` looks closer"
    if isinstance(error, ModuleNotFoundError):
        return _of_installation(error.name or "")
    return _of_database(error) if "sqlalchemy" in sys.modules else None


def _of_installation(module: str) -> str | None:
    """A package of an extra that is not installed; any other missing module is a bug, of ours or of a team's code."""
    from importlib import metadata

    wanted = module.partition(".")[0].lower()
    for line in metadata.requires("report-pipeline") or []:
        name, _, said = line.partition("extra ==")
        extra = said.strip(" )'\"")
        package = re.split(r"[^\w-]", name)[0]
        if extra and wanted and package.lower().replace("-", "_").startswith(wanted):
            return (
                f"the package {package} is not installed here: it comes with the extra {extra}, as in "
                f"`pip install 'report-pipeline[{extra}]'`; a clone gets all of them by `make setup`"
            )
    return None


def _of_database(error: Exception) -> str | None:
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError):
        return None
    said = str(error.orig).lower()
    if "no such table" in said or ("relation" in said and "does not exist" in said):
        return "the database has no tables yet: `pipeline migrate` makes them (and `pipeline up` does by itself)"
    if "no such column" in said or ("column" in said and "does not exist" in said):
        return "the database's tables are of another version: `pipeline migrate` brings them up to date"
    from pipeline.db import is_away
    from pipeline.settings import masked, settings

    if is_away(error):
        reason = str(error.orig).strip().splitlines()[0]
        return (
            f"the database {masked(settings().database_url)} does not answer: {reason}; `pipeline doctor` looks closer"
        )
    return None
