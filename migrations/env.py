"""How Alembic reaches the database: the pipeline's own engine and tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Connection, text

from pipeline.db import engine
from pipeline.models import Base, PlainText, UtcDateTime

# Any number that only we use: PostgreSQL's advisory lock that makes several migrators take turns.
LOCK = 7_243_118


def render_item(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Written migrations stand alone: our own types appear as what they are in the database."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, PlainText):
        return "sa.Text()"
    if kind == "type" and isinstance(item, JSON):
        return "sa.JSON()"
    return False


def run(connection: Connection) -> None:
    applied: list[object] = []
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        render_item=render_item,
        on_version_apply=lambda **said: applied.append(said["step"]),
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        context.run_migrations()
        if applied:
            check_foreign_keys(connection)


@contextmanager
def foreign_keys_off(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by making it anew: dropping the old one must not take along, or fail over, its children.

    Said to the driver, since inside of a transaction it would mean nothing (sqlite.org/lang_altertable.html).
    """
    driver = connection.connection.driver_connection
    if connection.dialect.name != "sqlite" or driver is None:
        yield
        return
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def check_foreign_keys(connection: Connection) -> None:
    """What SQLite did not look at while tables were made anew."""
    if connection.dialect.name == "sqlite":
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
        if broken:
            raise RuntimeError(f"the migration would leave rows that point to nothing: {broken[:5]}")


with engine().connect() as connection, foreign_keys_off(connection):
    run(connection)
    connection.commit()
