"""What a row can hold: instants in UTC, text without NUL, and ids that sort by the time they were made."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from uuid import RFC_4122

import pytest
from sqlalchemy import CheckConstraint, Text
from sqlalchemy.dialects import postgresql, sqlite

from pipeline import models
from pipeline.models import Base, PlainText, Step, UtcDateTime, new_id, new_run_id
from pipeline.services.answers import wording

BERLIN = timezone(timedelta(hours=1))
NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
DIALECTS = [sqlite.dialect(), postgresql.dialect()]

# Every column that is kept to a StrEnum by a CHECK.
ENUMS: dict[tuple[str, str], type[StrEnum]] = {
    ("runs", "status"): models.RunStatus,
    ("runs", "waiting_for"): models.WaitingFor,
    ("runs", "trigger"): models.Trigger,
    ("slots", "decision"): models.Decision,
    ("audit", "source"): models.Door,
    ("approvals", "answer"): models.Answer,
    ("backfills", "first"): models.Order,
    ("api_tokens", "scope"): models.Scope,
    ("users", "role"): models.Scope,
    ("logins", "role"): models.Scope,
    ("login_links", "role"): models.Scope,
    ("steps", "status"): models.StepStatus,
    ("attempts", "outcome"): models.Outcome,
    ("documents", "status"): models.DocumentStatus,
    ("deliveries", "channel"): models.Channel,
    ("deliveries", "status"): models.DeliveryStatus,
    ("deliveries", "phase"): models.Phase,
    ("notice_deliveries", "status"): models.NoticeStatus,
    ("subscriptions", "status"): models.SubscriptionStatus,
}


def checks():
    return {
        (table.name, str(one.name).removeprefix(f"ck_{table.name}_")): set(re.findall(r"'([^']*)'", str(one.sqltext)))
        for table in Base.metadata.tables.values()
        for one in table.constraints
        if isinstance(one, CheckConstraint)
    }


def test_every_enum_is_kept_to_its_column_and_no_check_is_forgotten():
    assert checks() == {column: set(enum) for column, enum in ENUMS.items()}


def test_every_enum_of_the_tables_has_its_column():
    enums = {one for one in vars(models).values() if isinstance(one, type) and issubclass(one, StrEnum)}

    assert enums - {StrEnum} == set(ENUMS.values())


def test_the_final_states_are_states():
    assert set(models.RunStatus) - models.FINAL_RUN == {"queued", "running", "waiting", "cancelling"}
    assert set(models.StepStatus) - models.FINAL_STEP == {"pending", "queued", "running"}
    assert {"planned", "queued", "sending", "deferred"} == models.OPEN_DELIVERY


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("said", [NOON, NOON.astimezone(BERLIN)])
def test_an_instant_comes_back_in_utc_whatever_zone_it_was_said_in(dialect, said):
    column = UtcDateTime()
    stored = column.process_bind_param(said, dialect)
    found = column.process_result_value(stored, dialect)

    assert found == NOON
    assert found.utcoffset() == timedelta()


def test_what_postgresql_gives_in_its_own_zone_is_utc_too():
    found = UtcDateTime().process_result_value(NOON.astimezone(BERLIN), DIALECTS[1])

    assert (found, found.tzinfo) == (NOON, UTC)


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="2026-11-16T12:00:00 has no time zone: instants are aware, in UTC"):
        UtcDateTime().process_bind_param(NOON.replace(tzinfo=None), DIALECTS[0])


@pytest.mark.parametrize(("said", "kept"), [("a\0b", "a\N{REPLACEMENT CHARACTER}b"), ("plain", "plain"), (None, None)])
def test_text_holds_no_nul(said, kept):
    assert PlainText().process_bind_param(said, DIALECTS[1]) == kept


def test_no_column_can_hold_a_nul_or_a_moment_without_a_zone():
    kinds = {type(column.type) for table in Base.metadata.tables.values() for column in table.columns}

    assert kinds & {PlainText, UtcDateTime} == {PlainText, UtcDateTime}
    assert Text not in kinds


def test_ids_sort_by_the_time_they_were_made():
    ids = [new_id() for _ in range(1000)]

    assert ids == sorted(ids)
    assert {one.version for one in ids} == {7}


def test_runs_opened_together_are_told_apart_by_the_beginning_of_their_ids():
    ids = [new_run_id() for _ in range(1000)]

    assert ids == sorted(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, RFC_4122)}
    assert len({wording.short(one) for one in ids}) == 1000


@pytest.mark.parametrize(
    ("name", "kind"), [("render:3", "render"), ("start", "start"), ("deliver:3/2", "deliver"), ("finish/2", "finish")]
)
def test_the_kind_of_a_step_is_what_its_retry_goes_by(name, kind):
    assert Step(name=name).kind == kind
