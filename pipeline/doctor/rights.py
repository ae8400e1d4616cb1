"""What a report's database says about the account in its URL: who it is, and whether it may do more than read."""

from __future__ import annotations

import os
from collections.abc import Callable

from sqlalchemy import Connection, text

from pipeline import example
from pipeline.adapters.sources.sql import Database
from pipeline.doctor.check import Check, fault, fine, warning
from pipeline.errors import PipelineError
from pipeline.settings import Settings, masked

READ_ONLY = "give reports an account that can only read: a mistake in a query then harms nothing"

POSTGRESQL = """
    select version(), current_user,
        (select rolsuper from pg_roles where rolname = current_user)
        or has_database_privilege(current_database(), 'CREATE')
        or exists (
            select from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'p', 'v') and n.nspname not in ('pg_catalog', 'information_schema')
            and has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))
"""
SQL_SERVER = """
    select @@version, suser_sname(),
        has_perms_by_name(db_name(), 'DATABASE', 'INSERT') + has_perms_by_name(db_name(), 'DATABASE', 'UPDATE')
        + has_perms_by_name(db_name(), 'DATABASE', 'DELETE') + has_perms_by_name(db_name(), 'DATABASE', 'CREATE TABLE')
"""
ORACLE = """
    select (select banner from v$version fetch first 1 row only), user,
        (select count(*) from session_privs
         where regexp_like(privilege, '^(INSERT|UPDATE|DELETE|CREATE|DROP|ALTER) .*TABLE'))
        + (select count(*) from user_tables)
    from dual
"""

Answer = tuple[str, str, bool | None]


def source(name: str, settings: Settings) -> Check:
    """Connects to the database that reports call `name` with a read-only session, and asks it. Changes nothing."""
    title = f'database "{name}"'
    try:
        url = example.source_url(name)
        database = Database.at(url, place=title, home=settings.home, timeout=min(30.0, settings.source_timeout))
        with database.session() as connection:
            server, user, writes = _ask(connection, database)
    except PipelineError as error:
        advice = f"correct PIPELINE_SOURCE_{name.upper()}_URL, or what it names"
        return fault(title, str(error).removeprefix(f"{title}: "), advice)
    found = f"{server} at {masked(url)}, as {user}"
    if writes is None:
        return warning(title, f"{found}; whether it may write is not known for {database.dialect}", READ_ONLY)
    if writes:
        return warning(title, f"{found}, which may also write", READ_ONLY)
    return fine(title, f"{found}, which can only read")


def _ask(connection: Connection, database: Database) -> Answer:
    ask = _ANSWERS.get(database.dialect)
    if ask:
        return ask(connection, database)
    return database.dialect, str(database.url.username or "nobody"), None


def _sqlite(connection: Connection, _: Database) -> Answer:
    """The session opens the file for reading only, whatever the system would allow."""
    version = connection.execute(text("select sqlite_version()")).scalar_one()
    return f"SQLite {version}", f"the system's user {os.geteuid()}", False


def _postgresql(connection: Connection, _: Database) -> Answer:
    server, user, writes = connection.execute(text(POSTGRESQL)).one()
    return str(server).partition(" on ")[0], str(user), bool(writes)


def _mysql(connection: Connection, _: Database) -> Answer:
    server, user = connection.execute(text("select version(), current_user()")).one()
    grants = [str(row[0]).upper() for row in connection.execute(text("show grants"))]
    words = ("ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER")
    given = [grant.partition("GRANT ")[2].partition(" ON ")[0] for grant in grants]
    name = "MariaDB" if "mariadb" in str(server).lower() else "MySQL"
    return f"{name} {server}", str(user), any(word in grant for grant in given for word in words)


def _by_query(query: str) -> Callable[[Connection, Database], Answer]:
    def ask(connection: Connection, _: Database) -> Answer:
        server, user, writes = connection.execute(text(query)).one()
        return str(server).splitlines()[0], str(user), bool(writes)

    return ask


_ANSWERS: dict[str, Callable[[Connection, Database], Answer]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
    "mssql": _by_query(SQL_SERVER),
    "oracle": _by_query(ORACLE),
}
