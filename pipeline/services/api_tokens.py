"""Tokens that applications show over HTTP: made once, told once, kept as a digest."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.errors import NotFound, Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import ApiToken, Scope
from pipeline.services import audit
from pipeline.services.audit import Actor

# What every token begins with: secret scanners, and people who find one in a log, know what it is.
MARK = "rpt_"
# How much of a token is kept to tell it by; the rest has 256 bits.
PREFIX = len(MARK) + 6
LONGEST_NAME = 100
# A use is written down at most this often: else each request would be a write.
USED_EVERY = timedelta(minutes=1)


def create(
    session: Session, name: str, scope: Scope, actor: Actor, *, expires_in: timedelta | None = None
) -> tuple[ApiToken, str]:
    """A new token: its row, and the text that nobody can read again. Raises Refused for a name that cannot be."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise Refused(f"a token needs a name of 1 to {LONGEST_NAME} letters, digits and signs: it stands in the record")
    if session.scalar(select(ApiToken).where(ApiToken.name == name)) is not None:
        raise Refused(f'there is a token "{name}" already: take another name; names are not used again, for the record')
    now = clock(session)
    secret = MARK + secrets.token_urlsafe(32)
    row = ApiToken(
        name=name,
        prefix=secret[:PREFIX],
        digest=_digest(secret),
        scope=scope,
        created_at=now,
        expires_at=now + expires_in if expires_in else None,
    )
    session.add(row)
    session.flush()
    audit.record(session, actor, "token create", "token", name, scope=scope, expires=str(row.expires_at or ""))
    return row, secret


def find(session: Session, secret: str) -> ApiToken | None:
    """The token that is valid now; None for one that is unknown, revoked or expired."""
    # By digest: the time of the look-up tells nothing about how much of a guess was right.
    mine = select(ApiToken).where(ApiToken.digest == _digest(secret), ApiToken.revoked_at.is_(None))
    token = session.scalar(mine)
    if token is None or (token.expires_at is not None and token.expires_at <= clock(session)):
        return None
    return token


def used(session: Session, token: ApiToken) -> None:
    """Write down that it was used now, at most once a minute."""
    now = clock(session)
    stale = or_(ApiToken.last_used_at.is_(None), ApiToken.last_used_at < now - USED_EVERY)
    session.execute(update(ApiToken).where(ApiToken.id == token.id, stale).values(last_used_at=now))


def is_stale(token: ApiToken, now: datetime) -> bool:
    """Whether its use is worth writing down."""
    return token.last_used_at is None or token.last_used_at < now - USED_EVERY


def revoke(session: Session, name: str, actor: Actor) -> ApiToken:
    """End a token; from its next request on it is refused. Raises NotFound with those that there are."""
    row = session.scalar(select(ApiToken).where(ApiToken.name == name))
    if row is None:
        known = [token.name for token in every(session)]
        hint = did_you_mean(name, known, f"known tokens: {', '.join(known) or 'none'}")
        raise NotFound(f'there is no token "{name}": {hint}')
    if row.revoked_at is None:
        row.revoked_at = clock(session)
        audit.record(session, actor, "token revoke", "token", name)
    return row


def every(session: Session) -> Sequence[ApiToken]:
    """All tokens, also those that are revoked or expired, the newest first."""
    return session.scalars(select(ApiToken).order_by(ApiToken.created_at.desc(), ApiToken.name)).all()


@dataclass(frozen=True)
class TokenSummary:
    """A token as people see it: never the token itself. Instants are UTC."""

    name: str
    prefix: str
    scope: str
    state: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


def summaries(session: Session) -> list[TokenSummary]:
    """Every token; `state` is active, expired or revoked."""
    now = clock(session)
    return [
        TokenSummary(
            one.name, one.prefix, one.scope, _state(one, now), one.created_at, one.expires_at, one.last_used_at
        )
        for one in every(session)
    ]


def _state(token: ApiToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "active"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
