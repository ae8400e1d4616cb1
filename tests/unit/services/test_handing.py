"""The answer to one message and the dot of the next, in one statement: as the ledger writes them one by one."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from pipeline.db import is_away, reading
from pipeline.errors import StaleClaim
from pipeline.models import new_id
from pipeline.own_commits import own_commits
from pipeline.services import handing
from pipeline.services.handing import Accepted
from tests.factories import make_run
from tests.unit.services.sent import RELAY, claim, events, queued, read, write

# SQLite has no round trips to save.
pytestmark = [
    pytest.mark.usefixtures("time"),
    pytest.mark.postgresql,
    pytest.mark.parametrize("database", ["postgresql"], indirect=True),
]


@pytest.fixture
def connection(time):
    found = own_commits()
    assert found is not None
    yield found
    found.close()


def test_both_are_written_as_they_are_one_by_one(connection, time):
    run, attempt = make_run(), new_id()
    first, second = queued(run), queued(run, "bob@b.example", key="B")
    claim(run, attempt)
    handing.dot(connection, first.id, attempt, RELAY, None)
    assert (read(first).status, read(first).phase, read(first).relay) == ("sending", "dot", RELAY)

    answer = Accepted(first.id, RELAY, 250, "250 queued\0 as 4F2A", time.now)
    handing.dot(connection, second.id, attempt, RELAY, answer)

    sent = read(first)
    assert (sent.status, sent.phase, sent.sent_at) == ("accepted", None, time.now)
    assert sent.reply == "250 queued\N{REPLACEMENT CHARACTER} as 4F2A"
    assert events(first) == [("dot", None), ("accepted", sent.reply)]
    assert (read(second).phase, events(second)) == ("dot", [("dot", None)])


def test_no_dot_for_what_is_somebody_elses_and_the_answer_is_kept_all_the_same(connection, time):
    run, slept, other = make_run(), new_id(), new_id()
    first, second = queued(run), queued(run, "bob@b.example", key="B")
    claim(run, slept)
    handing.dot(connection, first.id, slept, RELAY, None)
    claim(run, other)
    assert read(first).status == "uncertain"

    with pytest.raises(StaleClaim, match=f"delivery {second.id} was taken over by another process"):
        handing.dot(connection, second.id, slept, RELAY, Accepted(first.id, RELAY, 250, "250 OK", time.now))
    assert (read(first).status, read(second).phase) == ("accepted", None)
    assert events(second) == []


def test_the_dot_is_durable_also_where_the_server_would_not_wait(connection, time):
    run, attempt = make_run(), new_id()
    delivery = queued(run)
    claim(run, attempt)
    connection.execute("SET synchronous_commit TO off", {})
    connection.execute("CREATE TEMP TABLE seen (at text)", {})
    # What holds at the end of the statement is what holds when it commits.
    connection.execute(
        "CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$",
        {},
    )
    connection.execute(
        "CREATE CONSTRAINT TRIGGER look AFTER INSERT ON delivery_attempts DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION pg_temp.look()",
        {},
    )
    handing.dot(connection, delivery.id, attempt, RELAY, None)

    assert connection.execute("SELECT FROM seen WHERE at = 'on'", {}) == 1
    connection.execute("DROP TRIGGER look ON delivery_attempts", {})
    assert write(lambda session: session.connection().exec_driver_sql("SHOW synchronous_commit").scalar()) == "on"


def test_an_error_says_as_any_other_what_the_database_said_and_no_values(connection):
    with pytest.raises(ProgrammingError, match='relation "nowhere" does not exist') as told:
        connection.execute("SELECT FROM nowhere WHERE address = %(address)s", {"address": "ann@a.example"})
    assert "ann@a.example" not in str(told.value)
    with pytest.raises(DBAPIError, match="closed"):
        connection.execute("SELECT", {})


def test_a_database_that_goes_away_in_the_middle_is_known_to_be_away(connection):
    with pytest.raises(DBAPIError, match="terminating connection") as told:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())", {})
    assert is_away(told.value)
    assert told.value.connection_invalidated  # whatever the driver's words for it are
    again = own_commits()
    assert again is not None
    assert again.execute("SELECT 1", {}) == 1
    again.close()


def test_its_plan_is_kept_while_it_is_used_and_no_longer_than_that(time):
    connection = own_commits()
    assert connection is not None
    kept = "SELECT FROM pg_prepared_statements WHERE statement LIKE '%%FROM runs%%' AND statement NOT LIKE '%%kept%%'"
    for _ in range(10):
        connection.execute("SELECT id FROM runs WHERE id = %(id)s", {"id": new_id()})
    assert connection.execute(kept, {}) == 1
    for _ in range(2):
        connection.close()
    with reading() as session:
        for _ in range(10):
            session.execute(text("SELECT id FROM runs WHERE id = :id"), {"id": new_id()})
        assert session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
