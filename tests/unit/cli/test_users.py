"""`pipeline user`: who may log in, told in one line each."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from pipeline.adapters import passwords
from pipeline.cli import application
from pipeline.db import reading
from pipeline.models import Audit, LoginLink, User

SECRET = "correct horse battery"


@pytest.fixture
def answers(database):
    """Types a command, and a line into its standard input."""
    return lambda line, *words: CliRunner().invoke(application(), words, input=f"{line}\n", catch_exceptions=False)


def kept():
    with reading() as session:
        return session.get_one(User, "anna").password


def test_a_user_is_added_listed_changed_and_removed_on_record(typed, as_json, answers):
    assert answers(SECRET, "user", "add", "anna", "--role", "operate").exit_code == 0
    assert kept().startswith("$argon2id$")
    assert passwords.is_right(SECRET, kept())
    (listed,) = as_json("user", "list")
    assert (listed["name"], listed["role"], "password" in listed) == ("anna", "operate", False)
    assert typed("user", "role", "anna", "read").exit_code == 0
    assert answers("another long one", "user", "password", "anna").exit_code == 0
    assert not passwords.is_right(SECRET, kept())
    assert typed("user", "remove", "anna").exit_code == 0
    assert as_json("user", "list") == []
    with reading() as session:
        acts = session.scalars(select(Audit).order_by(Audit.id)).all()
    assert [one.action for one in acts] == ["user add", "user role", "user password", "user remove"]
    assert "argon2" not in str([one.detail for one in acts])


@pytest.mark.parametrize(
    ("line", "words", "sentence"),
    [
        ("short", ["add", "anna"], "a password has 10 characters or more"),
        (SECRET, ["add", "anna maria"], '"anna maria" cannot be a user\'s name'),
        (SECRET, ["password", "ana"], 'there is no user "ana"'),
        ("", ["remove", "bob"], 'there is no user "bob"'),
    ],
)
def test_a_mistake_is_told_in_a_sentence(answers, line, words, sentence):
    refused = answers(line, "user", *words)
    assert (refused.exit_code, sentence in " ".join(refused.output.split())) == (2, True)


def test_a_link_is_printed_for_whoever_asks_and_only_its_digest_is_kept(database, typed):
    printed = typed("user", "link", "--role", "read", "--by", "anna").stdout.strip()
    base, _, secret = printed.rpartition("/")
    assert base == "http://127.0.0.1:8000/login"
    with reading() as session:
        row = session.scalars(select(LoginLink)).one()
        assert (row.name, row.role) == ("anna", "read")
        assert secret not in row.digest
