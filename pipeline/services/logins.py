"""Logging in to the console: tries that are counted, links that work once, and who is logged in now."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from pipeline.db import clock, one_at_a_time
from pipeline.errors import Refused
from pipeline.models import Login, LoginAttempt, LoginLink, Scope, User
from pipeline.services import audit
from pipeline.services.audit import Actor

# Wrong tries that one name from one network, one network, and one name from anywhere have in a quarter of an hour.
WINDOW = timedelta(minutes=15)
OF_BOTH, OF_NETWORK, OF_NAME = 5, 30, 100
# How long somebody stays logged in without being there, and at most.
IDLE, LONGEST = timedelta(days=3), timedelta(days=30)
# A look is written down at most this often: else each page would be a write.
SEEN_EVERY = timedelta(minutes=5)
LINK_LASTS = timedelta(minutes=30)


# ---- tries


class TooManyTries(Refused):
    """Too many wrong passwords lately: nothing is tried for another `again_in` seconds."""

    def __init__(self, again_in: int) -> None:
        minutes = math.ceil(again_in / 60)
        super().__init__(f"too many wrong passwords: try again in {minutes} minute{'s' if minutes > 1 else ''}")
        self.again_in = again_in


def try_again(session: Session, name: str, address: str) -> None:
    """Count a try before it is looked at, so that a hundred at once are a hundred; one that succeeds is taken back.

    Raises TooManyTries when there were too many wrong ones lately.
    """
    one_at_a_time(session, "login")
    now, who, network = clock(session), _digest(name), _network(address)
    session.execute(delete(LoginAttempt).where(LoginAttempt.at < now - WINDOW))
    of_name, of_network = LoginAttempt.who == who, LoginAttempt.address == network
    for allowed, mine in ((OF_BOTH, (of_name, of_network)), (OF_NETWORK, (of_network,)), (OF_NAME, (of_name,))):
        tried, first = session.execute(select(func.count(), func.min(LoginAttempt.at)).where(*mine)).one()
        if tried >= allowed:
            raise TooManyTries(max(1, math.ceil((first + WINDOW - now).total_seconds())))
    session.add(LoginAttempt(who=who, address=network, at=now))


def password_of(session: Session, name: str) -> str | None:
    """What is kept of the user's password; None for somebody unknown."""
    return session.scalar(select(User.password).where(User.name == name))


def log_in(session: Session, name: str, kept: str, actor: Actor) -> Login | None:
    """Log the user in, whose password was right a moment ago; None if it was changed since."""
    row = session.get(User, name, with_for_update=True)
    if row is None or row.password != kept:
        return None
    mine = (LoginAttempt.who == _digest(name), LoginAttempt.address == _network(actor.address or ""))
    session.execute(delete(LoginAttempt).where(*mine))
    return _begin(session, actor, Scope(row.role), user_name=name)


# ---- links that work once


def make_link(session: Session, actor: Actor, role: Scope = Scope.ADMIN) -> str:
    """The secret of a link that logs in once, for half an hour, as whoever asks for it."""
    now, secret = clock(session), secrets.token_urlsafe(24)
    session.execute(delete(LoginLink).where(LoginLink.expires_at < now))
    session.add(
        LoginLink(digest=_digest(secret), name=actor.by, role=role, created_at=now, expires_at=now + LINK_LASTS)
    )
    audit.record(session, actor, "login link", "user", actor.by, role=role)
    return secret


def is_link(session: Session, secret: str) -> bool:
    """Whether it would log in now."""
    mine = (LoginLink.digest == _digest(secret), LoginLink.expires_at > clock(session))
    return session.scalar(select(LoginLink.digest).where(*mine)) is not None


def follow(session: Session, secret: str, actor: Actor) -> Login:
    """Log in by the link, which is used up by that. Raises Refused for one that was, has ended, or never was."""
    mine = (LoginLink.digest == _digest(secret), LoginLink.expires_at > clock(session))
    used = session.execute(delete(LoginLink).where(*mine).returning(LoginLink.name, LoginLink.role)).one_or_none()
    if used is None:
        raise Refused("this link was used already, or is too old: `pipeline user link` prints another")
    return _begin(session, Actor(used.name, actor.source, actor.address), Scope(used.role))


# ---- who is logged in


def _begin(session: Session, actor: Actor, role: Scope, user_name: str | None = None) -> Login:
    now = clock(session)
    session.execute(delete(Login).where(_over(now)))
    row = Login(name=actor.by, role=role, user_name=user_name, address=actor.address, created_at=now, seen_at=now)
    session.add(row)
    session.flush()
    audit.record(session, actor, "log in", "user", actor.by, role=role)
    return row


def find(session: Session, login_id: UUID) -> Login | None:
    """Who that is; None for one that has logged out, was away for too long, or was there for very long."""
    row = session.get(Login, login_id)
    now = clock(session)
    over = row is None or row.seen_at < now - IDLE or row.created_at < now - LONGEST
    return None if over else row


def is_stale(login: Login, now: datetime) -> bool:
    """Whether it is worth writing down that they were there."""
    return login.seen_at < now - SEEN_EVERY


def seen(session: Session, login_id: UUID) -> None:
    """Write down that they were there now."""
    session.execute(update(Login).where(Login.id == login_id).values(seen_at=clock(session)))


def log_out(session: Session, login_id: UUID) -> None:
    """End it, whoever holds its cookie."""
    session.execute(delete(Login).where(Login.id == login_id))


def _over(now: datetime) -> ColumnElement[bool]:
    return (Login.seen_at < now - IDLE) | (Login.created_at < now - LONGEST)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _network(address: str) -> str:
    """The address, or of an IPv6 one its /64, which one customer has to himself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
