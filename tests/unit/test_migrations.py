"""The migrations make exactly the tables of the models, and unmake them, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import JSON, Boolean, DateTime, MetaData, String, Uuid, inspect, select, text
from sqlalchemy.exc import DBAPIError

from pipeline import db, migrating
from pipeline.errors import PermanentError
from pipeline.models import Audit, Base
from pipeline.services import audit
from pipeline.settings import settings
from tests.conftest import forget_engine
from tests.unit.test_models import ENUMS


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty(request, home, monkeypatch):
    """A database without any table."""
    if request.param == "postgresql":
        monkeypatch.setenv("PIPELINE_DATABASE_URL", request.getfixturevalue("postgresql_url"))
        settings.cache_clear()
    forget_engine()
    yield db.engine()
    forget_engine()


def config():
    made = Config()
    made.set_main_option("script_location", str(migrating.migrations()))
    return made


def tables(engine):
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_up_to_the_newest_there_is_no_difference_from_the_models(empty):
    assert not migrating.is_migrated()
    migrating.migrate()

    assert migrating.is_migrated()
    assert tables(empty) == set(Base.metadata.tables)
    command.check(config())


def test_down_to_nothing_and_up_again(empty):
    migrating.migrate()
    command.downgrade(config(), "base")
    assert tables(empty) == set()

    migrating.migrate()
    command.check(config())


def test_no_migration_loses_a_row_or_fails_over_one(empty):
    """From the first tables on, every table that there is holds a row when the next migration comes."""
    script, filled = ScriptDirectory.from_config(config()), set()
    for revision in reversed([one.revision for one in script.walk_revisions()]):
        command.upgrade(config(), revision)
        fill(empty, tables(empty) - filled)
        filled |= tables(empty)

    with empty.connect() as connection:
        held = {name: connection.scalar(text(f'SELECT count(*) FROM "{name}"')) for name in tables(empty)}
    assert {name for name, rows in held.items() if rows != 1} == set()


def fill(engine, new):
    """Put a row into every table that is new; each points to those of the tables it depends on."""
    found = MetaData()
    found.reflect(engine, only=new)
    with engine.begin() as connection:
        for table in found.sorted_tables:
            if table.name in new:
                connection.execute(table.insert().values(a_row(connection, table)))


def a_row(connection, table):
    allowed = {
        column: re.findall(r"'([^']*)'", check["sqltext"])
        for check in inspect(connection).get_check_constraints(table.name)
        for column in [column.name for column in table.columns]
        if re.search(rf"\b{column}\b", check["sqltext"])
    }
    return {
        column.name: a_value(connection, column, allowed.get(column.name))
        for column in table.columns
        if not column.nullable
    }


def a_value(connection, column, allowed):
    if column.foreign_keys:
        return connection.scalar(select(next(iter(column.foreign_keys)).column))
    if allowed:
        return allowed[0]
    kind = column.type
    if isinstance(kind, DateTime):
        return datetime(2026, 11, 16, 6, tzinfo=UTC)
    if isinstance(kind, Uuid) or (isinstance(kind, String) and kind.length == 32):
        return uuid4() if isinstance(kind, Uuid) else uuid4().hex
    if isinstance(kind, JSON):
        return {}
    return "x" if isinstance(kind, String) else True if isinstance(kind, Boolean) else 1


def test_a_difference_would_be_seen(empty):
    migrating.migrate()
    with empty.begin() as connection:
        connection.execute(text("DROP TABLE heartbeats"))

    with pytest.raises(CommandError, match="New upgrade operations detected"):
        command.check(config())


def test_every_enum_equals_its_check_in_the_database(empty):
    """Alembic does not compare CHECKs: this does."""
    migrating.migrate()
    found = {
        (table, check["name"].removeprefix(f"ck_{table}_")): set(re.findall(r"'([^']*)'", check["sqltext"]))
        for table in tables(empty)
        for check in inspect(empty).get_check_constraints(table)
    }

    assert found == {column: set(enum) for column, enum in ENUMS.items()}


def test_what_must_be_unique_is_so_in_the_database(empty):
    migrating.migrate()
    found = {one["name"] for table in tables(empty) for one in inspect(empty).get_unique_constraints(table)}

    assert found >= {
        "uq_slots_schedule_key_due_at_origin",
        "uq_runs_idempotency_key",
        "uq_steps_run_id_name",
        "uq_attempts_step_id_fence",
        "uq_documents_run_id_key",
        "uq_deliveries_run_id_channel_address_key_repeat",
        "uq_artifacts_uri",
        "uq_recipients_address",
        "uq_notices_subject_kind_episode",
        "uq_notice_deliveries_notice_id_target",
    }


@pytest.mark.parametrize("empty", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True)
def test_several_migrators_at_once_take_turns(empty):
    migrators = [
        subprocess.Popen([sys.executable, "-c", "import pipeline.migrating as m; m.migrate()"], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [migrator.communicate()[1].decode() for migrator in migrators]

    assert [migrator.returncode for migrator in migrators] == [0, 0], said
    assert migrating.is_migrated()


def test_a_database_of_a_newer_version_is_refused_in_a_sentence(empty):
    with empty.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(PermanentError, match=r"was migrated by a newer version than this one"):
        migrating.migrate()


def test_migrations_lie_in_the_checkout(empty):
    assert (migrating.migrations() / "env.py").is_file()


def test_what_is_on_record_can_be_neither_changed_nor_deleted(empty):
    migrating.migrate()
    with db.transaction() as session:
        audit.record(session, audit.BEAT, "sync", "schedule", "shipments")

    for statement in ("UPDATE audit SET by = 'nobody'", "DELETE FROM audit"):
        with pytest.raises(DBAPIError, match="audit is append-only"), empty.begin() as connection:
            connection.execute(text(statement))
    with db.reading() as session:
        assert [entry.by for entry in session.scalars(select(Audit))] == ["beat"]
