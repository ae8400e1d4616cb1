"""A database's refusals in one sentence each, told apart by whether trying again can help."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from pipeline.errors import PermanentError, PipelineError, TransientError

# PostgreSQL's classes and codes that pass by themselves: connection, resources, operator intervention (which includes
# the time-out), deadlock, serialisation, lock not available.
_TRANSIENT_STATES = ("08", "53", "57", "40001", "40P01", "55P03", "58030", "25P03")
# MySQL and MariaDB: too many connections, connection lost, lock wait, deadlock, statement time-outs.
_TRANSIENT_NUMBERS = {1040, 1203, 1205, 1213, 1317, 1927, 1969, 2002, 2003, 2005, 2006, 2013, 3024}
# A server that is there and says no to the URL's user or database says so again.
_REFUSED = re.compile(r"authentication failed|no pg_hba\.conf entry|(role|database) \"[^\"]*\" does not exist")


def translated(error: DBAPIError, place: str, secret: str | None, where: str = "") -> PipelineError:
    """Give the error to raise for what a database or its driver said.

    `place` names the source and its database, `where` the line of the query if it is known; `secret`, the URL's
    password, is struck from the text.
    """
    said = _said(error.orig)
    if secret:
        said = said.replace(secret, "***")
    if _timed_out(error.orig):
        return TransientError(
            f"{place}: the database did not answer in time ({said}); PIPELINE_SOURCE_TIMEOUT is the limit"
        )
    sentence = f"{place}: {said}{where}"
    return TransientError(sentence) if _passes(error) else PermanentError(sentence)


def _said(original: Any) -> str:
    diagnosis = getattr(original, "diag", None)
    parts = [getattr(diagnosis, field, None) for field in ("message_primary", "message_detail", "message_hint")]
    if any(parts):
        return "; ".join(part.rstrip(".") for part in parts if part)
    if _number(original) is not None:
        return str(original.args[1]) if len(original.args) > 1 else str(original)
    return " ".join(str(original).split())


def _number(original: Any) -> int | None:
    """MySQL's drivers put the server's number first."""
    first = getattr(original, "args", None) or (None,)
    return first[0] if isinstance(first[0], int) else None


def _timed_out(original: Any) -> bool:
    text = str(original)
    return (
        "statement timeout" in text
        or _number(original) in {3024, 1969}
        or (isinstance(original, sqlite3.OperationalError) and text == "interrupted")
    )


def _passes(error: DBAPIError) -> bool:
    original = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if isinstance(original, sqlite3.Error):
        return bool(re.search(r"locked|busy|disk I/O error", str(original)))
    if isinstance(state, str) and state:
        return state.startswith(_TRANSIENT_STATES)
    if _number(original) is not None:
        return _number(original) in _TRANSIENT_NUMBERS
    if error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError | InternalError) and not _REFUSED.search(str(original))
