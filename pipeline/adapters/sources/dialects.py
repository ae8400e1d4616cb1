"""What differs between databases: a read-only session, a time-out, how instants are bound, which driver to install."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.errors import PermanentError

# Seconds to wait for a connection: a server that is there answers sooner.
_CONNECT = 15

# The package with the driver, by SQLAlchemy's `dialect+driver` or dialect alone.
_PACKAGES = {
    "awsathena": "PyAthena[SQLAlchemy]",
    "bigquery": "sqlalchemy-bigquery",
    "clickhouse": "clickhouse-sqlalchemy",
    "clickhousedb": "clickhouse-connect",
    "cockroachdb": "sqlalchemy-cockroachdb psycopg[binary]",
    "databricks": "databricks-sqlalchemy",
    "db2": "ibm_db_sa",
    "duckdb": "duckdb-engine",
    "firebird": "sqlalchemy-firebird",
    "hana": "sqlalchemy-hana",
    "mariadb": "mysqlclient",
    "mariadb+mariadbconnector": "mariadb",
    "mariadb+pymysql": "pymysql",
    "mssql": "pyodbc",
    "mssql+pymssql": "pymssql",
    "mysql": "mysqlclient",
    "mysql+mysqlconnector": "mysql-connector-python",
    "mysql+pymysql": "pymysql",
    "oracle": "oracledb",
    "oracle+cx_oracle": "cx_Oracle",
    "postgresql": "psycopg[binary]",
    "postgresql+pg8000": "pg8000",
    "postgresql+psycopg2": "psycopg2-binary",
    "redshift": "sqlalchemy-redshift redshift_connector",
    "snowflake": "snowflake-sqlalchemy",
    "teradatasql": "teradatasqlalchemy",
    "trino": "trino[sqlalchemy]",
    "vertica": "sqlalchemy-vertica-python",
}
_MYSQL = {"mysql", "mariadb"}
# Their drivers drop a datetime's zone, so they are given UTC without one.
_ZONELESS = {*_MYSQL, "mssql", "oracle"}


def driver_command(drivername: str) -> str:
    """Give the command that installs the driver of a URL's `dialect+driver`."""
    package = _PACKAGES.get(drivername) or _PACKAGES.get(drivername.partition("+")[0])
    if not package:
        return f"install the package with SQLAlchemy's dialect {drivername}"
    return "pip install " + " ".join(f"'{word}'" if "[" in word else word for word in package.split())


def preparation(dialect: str, timeout: float, *, mariadb: bool = False) -> list[str]:
    """Give the statements that make a session read-only and limit each of its statements to `timeout` seconds.

    SQLite's are in `open_sqlite`. For databases not known here there are none: the query is trusted, so let its
    account have no more than the right to read.
    """
    milliseconds = max(1, int(timeout * 1000))
    if dialect in {"postgresql", "cockroachdb"}:
        # LOCAL: also right behind a pooler that hands out one server connection a transaction.
        return ["SET TRANSACTION READ ONLY", f"SET LOCAL statement_timeout = {milliseconds}"]
    if dialect in _MYSQL:
        limit = f"max_statement_time = {timeout}" if mariadb else f"max_execution_time = {milliseconds}"
        # In UTC, so that TIMESTAMP columns are compared with the UTC they are given, and come back in it.
        return [f"SET SESSION {limit}", "SET SESSION time_zone = '+00:00'", "START TRANSACTION READ ONLY"]
    if dialect == "oracle":
        return ["SET TRANSACTION READ ONLY"]
    return []


def connect_arguments(drivername: str, timeout: float) -> dict[str, Any]:
    """Give the driver's arguments by which a dead server or network is noticed."""
    if drivername in {"postgresql+psycopg", "postgresql+psycopg2", "cockroachdb+psycopg"}:
        kept_alive = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        return {"connect_timeout": _CONNECT, **kept_alive}
    if drivername.partition("+")[2] in {"pymysql", "mysqldb"}:
        return {"connect_timeout": _CONNECT, "read_timeout": int(timeout) + _CONNECT}
    return {}


def bindable(dialect: str, value: Any) -> Any:
    """Give a value as the dialect's driver takes it.

    SQLite has no type for instants or dates but compares text, and its own functions, like most programs, write
    `2026-11-16 07:00:00` in UTC: so are they given (with six digits of a second where they are not zero).
    """
    if dialect == "sqlite" and isinstance(value, datetime):
        naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return naive.isoformat(" ")
    if dialect == "sqlite" and isinstance(value, date):
        return value.isoformat()
    if dialect in _ZONELESS and isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def bind_in_the_client(connection: Any, _: Any = None) -> None:
    """Let psycopg put values, quoted, into a streamed query by itself.

    A server takes a DECLARE's parameters for what they are sent as: `:region is null` with NULL, or text where the
    query compares with text, is refused there.
    """
    from psycopg import ServerCursor
    from psycopg.client_cursor import ClientCursorMixin

    connection.server_cursor_factory = type("StreamedCursor", (ClientCursorMixin, ServerCursor), {})


def sqlite_file(database: str | None, home: Path, place: str) -> Path:
    """Find the file of an SQLite URL; a relative one lies in the home. Raises PermanentError if there is none."""
    if not database or ":memory:" in database:
        raise PermanentError(f"{place}: its URL names no file: write sqlite:///data.db or sqlite:////folder/data.db")
    path = home / database.removeprefix("file:").partition("?")[0]
    if not path.is_file():
        raise PermanentError(f"{place}: {path} does not exist")
    return path


def open_sqlite(path: Path, overdue: Callable[[], bool]) -> sqlite3.Connection:
    """Open an SQLite file for reading only; `overdue` is asked again and again and ends a statement by saying yes."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_CONNECT)
    connection.execute("PRAGMA query_only = ON")
    connection.set_progress_handler(overdue, 20_000)
    return connection


def bound(dialect: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give all values as the dialect's driver takes them."""
    return {name: bindable(dialect, value) for name, value in values.items()}
