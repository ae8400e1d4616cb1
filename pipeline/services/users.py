"""Who may log in to the console with a password, and what each of them may do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.errors import NotFound, Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import Login, Scope, User
from pipeline.services import audit
from pipeline.services.audit import Actor

# NIST SP 800-63B: length is what counts; what is longer than a hash needs is refused before it is hashed.
SHORTEST, LONGEST = 10, 1000
NAME = re.compile(r"[\w.@+-]{1,100}")


def check_password(password: str) -> None:
    """Raises Refused for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused(f"a password has {SHORTEST} characters or more (and {LONGEST:,} at most): take a longer one")


def add(session: Session, actor: Actor, name: str, kept: str, role: Scope) -> User:
    """A new user; `kept` is what passwords.hashed made of the password. Raises Refused for a name that is taken."""
    if not NAME.fullmatch(name):
        raise Refused(f'"{name}" cannot be a user\'s name: letters, digits and . _ - + @ can')
    if session.get(User, name) is not None:
        raise Refused(f'there is a user "{name}" already: `pipeline user password {name}` sets another password')
    now = clock(session)
    row = User(name=name, password=kept, role=role, created_at=now, changed_at=now)
    session.add(row)
    session.flush()
    audit.record(session, actor, "user add", "user", name, role=role)
    return row


def change(session: Session, actor: Actor, name: str, *, kept: str | None = None, role: Scope | None = None) -> User:
    """Another password or role; whoever is logged in as that user has to do so again. Raises NotFound."""
    row = find(session, name)
    row.password, row.role, row.changed_at = kept or row.password, role or row.role, clock(session)
    _log_out(session, name)
    audit.record(session, actor, "user password" if kept else "user role", "user", name, role=role)
    return row


def remove(session: Session, actor: Actor, name: str) -> None:
    """End a user, and whatever they are logged in to. Raises NotFound with those that there are."""
    row = find(session, name)
    _log_out(session, name)
    session.delete(row)
    audit.record(session, actor, "user remove", "user", name)


def find(session: Session, name: str) -> User:
    """The user, locked. Raises NotFound with those that there are."""
    row = session.get(User, name, with_for_update=True)
    if row is None:
        known = session.scalars(select(User.name).order_by(User.name)).all()
        hint = did_you_mean(name, known, f"known users: {', '.join(known) or 'none'}")
        raise NotFound(f'there is no user "{name}": {hint}')
    return row


def _log_out(session: Session, name: str) -> None:
    session.execute(delete(Login).where(Login.user_name == name))


@dataclass(frozen=True)
class UserSummary:
    """A user as people see it; `seen_at` (UTC) is when they were there last, as far as they are still logged in."""

    name: str
    role: str
    created_at: datetime
    changed_at: datetime
    seen_at: datetime | None


def every(session: Session) -> Sequence[UserSummary]:
    """All users by name."""
    seen = select(func.max(Login.seen_at)).where(Login.user_name == User.name).scalar_subquery()
    rows = session.execute(select(User, seen).order_by(User.name))
    return [UserSummary(one.name, one.role, one.created_at, one.changed_at, at) for one, at in rows]
