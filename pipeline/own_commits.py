"""A connection for whoever writes once for each message: every statement commits by itself, and its plan is kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from pipeline.db import engine


class OwnCommits:
    """A connection on which each statement is a transaction of its own; the caller closes it.

    What SQLAlchemy does for each statement is left out, and its plan is kept: a sender writes one for each message.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        driver: Any = connection.connection.driver_connection
        driver.prepare_threshold = 0
        self._driver, self._cursor = driver, driver.cursor()
        self._error: type[Exception] = connection.dialect.loaded_dbapi.Error

    def execute(self, statement: str, values: Mapping[str, Any]) -> int:
        """How many rows the statement wrote. Raises DBAPIError, and no connection that it struck is used again."""
        try:
            self._cursor.execute(statement, values)
        except self._error as error:
            gone = self._driver.closed
            self._connection.invalidate()
            said = DBAPIError.instance(
                statement, None, error, self._error, hide_parameters=True, connection_invalidated=gone
            )
            raise said from error
        except BaseException:
            self._connection.invalidate()
            raise
        return int(self._cursor.rowcount)

    def close(self) -> None:
        """Give the connection back as it was, without plans; once: then it is somebody else's."""
        if self._connection.closed:
            return
        with suppress(DBAPIError):  # one that broke has none
            self.execute("DEALLOCATE ALL", {})
        self._driver.prepare_threshold = None
        self._connection.close()


def own_commits() -> OwnCommits | None:
    """For whoever writes often; None on SQLite, whose writers take turns."""
    return None if engine().dialect.name == "sqlite" else OwnCommits(engine().connect())
