"""How Alembic reaches the database: the pipeline's own engine and tables."""

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
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=render_item
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        context.run_migrations()


with engine().connect() as connection:
    run(connection)
    connection.commit()
