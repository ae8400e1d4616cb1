"""Bringing the database to the tables of this version, by Alembic."""

from __future__ import annotations

from pathlib import Path

from pipeline.db import engine, writers_turn
from pipeline.errors import PermanentError
from pipeline.settings import masked, settings


def migrations() -> Path:
    """The folder of Alembic's migrations: in the checkout, or inside the installed package."""
    checkout = Path(__file__).parent.parent / "migrations"
    return checkout if (checkout / "env.py").is_file() else Path(__file__).parent / "_migrations"


def migrate(revision: str = "head") -> None:
    """Bring the database to `revision`; several callers at once take turns. Raises PermanentError for a newer one."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    try:
        with writers_turn():
            command.upgrade(config, revision)
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        raise PermanentError(
            f"{masked(settings().database_url)} was migrated by a newer version than this one: run that version, or go "
            "back to a backup"
        ) from error


def is_migrated() -> bool:
    """Whether the database is at the newest migration."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine().connect() as connection:
        current = MigrationContext.configure(connection).get_current_heads()
    return set(current) == set(ScriptDirectory(str(migrations())).get_heads())
