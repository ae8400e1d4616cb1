"""The doctor beside real servers."""

import subprocess

from sqlalchemy import create_engine, make_url, text

from pipeline import doctor
from pipeline.doctor import Verdict, reach
from pipeline.embedded import broker, state
from pipeline.settings import settings


def heard(ask, name):
    """What is found of a server that is named: it is asked for some seconds, in which it may not have its turn."""
    found = []
    assert state.until(lambda: found.append(ask(settings())) or name in found[-1].found, 60), found
    return found[-1]


def test_a_broker_that_may_throw_messages_away_is_warned_of(home, monkeypatch, tmp_path):
    path = tmp_path / "b.sock"
    command = [broker.binary(), *broker._options(path, tmp_path), "--maxmemory-policy", "allkeys-lru"]
    monkeypatch.setenv("PIPELINE_BROKER_URL", f"redis+socket://{path}")
    settings.cache_clear()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            check = heard(reach.broker, "Valkey")

            assert check.verdict is Verdict.WARNING
            assert "may throw queues away (maxmemory-policy allkeys-lru)" in check.found
            assert "CONFIG SET maxmemory-policy noeviction" in check.advice
            assert heard(reach.clocks, "broker").found.endswith("broker agrees")
        finally:
            server.terminate()


def test_an_account_that_may_write_is_told_from_one_that_only_reads(home, monkeypatch, postgresql_url):
    reader_name = f"reader_{make_url(postgresql_url).database}"
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("create table flights (n int)"))
        connection.execute(text(f"create role {reader_name} login"))
        connection.execute(text(f"grant select on flights to {reader_name}"))
    monkeypatch.setenv("PIPELINE_SOURCE_OWNER_URL", postgresql_url)
    monkeypatch.setenv("PIPELINE_SOURCE_READER_URL", postgresql_url.replace("postgres@", f"{reader_name}@"))

    owner, reader = doctor.examine_source("owner"), doctor.examine_source("reader")

    with engine.begin() as connection:
        connection.execute(text(f"drop owned by {reader_name}"))
        connection.execute(text(f"drop role {reader_name}"))
    engine.dispose()
    assert owner.verdict is Verdict.WARNING
    assert "as postgres, which may also write" in owner.found
    assert reader.verdict is Verdict.OK
    assert reader.found.startswith("PostgreSQL 1")
    assert reader.found.endswith(f"as {reader_name}, which can only read")
