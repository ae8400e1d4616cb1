"""The emergency brake: nothing goes out any more, everywhere within a second, until somebody lets it go on."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import Relay, Run
from pipeline.services import audit, blocks, relays, shares
from pipeline.services.answers import wording
from pipeline.services.audit import Actor
from pipeline.settings import settings


def pulled(session: Session) -> Relay | None:
    """Who has stopped all mail, when and why; None while it goes on."""
    return session.scalar(select(Relay).where(Relay.name == relays.ALL, Relay.stopped_at.is_not(None)))


def stop(session: Session, actor: Actor, relay: str | None, reason: str | None) -> str:
    """No message goes to this relay, or to any: what waits stays queued, and so it is after a restart of everything.

    Answers with what is to be told where it was stopped already: who stopped it first, since when and why stays, unless
    there is another `reason` now.
    """
    row = relays.find(session, relay or relays.ALL)
    before = _before(row) if row.stopped_at else ""
    if before and reason in {None, row.stop_reason}:
        return f"{before}. Nothing was changed."
    now = clock(session)
    row.stopped_at, row.stopped_by, row.stop_reason = row.stopped_at or now, actor.by, reason
    if relay:
        shares.look_again(session, now)  # the next relay may have room for what had none at this one
    audit.record(session, actor, "mail stop", "relay", relay or "all", reason=reason)
    return f"{before}. That is replaced." if before else ""


def _before(row: Relay) -> str:
    since = wording.moment(row.stopped_at, settings().timezone) if row.stopped_at else ""
    because = f": {row.stop_reason}" if row.stop_reason else ""
    return f"It was stopped already by {row.stopped_by} on {since}{because}"


def start(session: Session, actor: Actor, relay: str | None) -> list[Run]:
    """Let mail go on, by this relay or by all: whoever had stopped it, and whatever had blocked it or its runs.

    Returns the runs that were blocked; what is still wrong blocks them again.
    """
    now = clock(session)
    halted = or_(Relay.stopped_at.is_not(None), Relay.blocked_at.is_not(None), Relay.open_until.is_not(None))
    names = [relay] if relay else list(session.scalars(select(Relay.name).where(halted).order_by(Relay.name)))
    for name in names:
        row = relays.find(session, name)
        row.stopped_at = row.stopped_by = row.stop_reason = None
        row.blocked_at = row.block_reason = row.fingerprint = None
        row.open_until = row.down_since = None
    audit.record(session, actor, "mail start", "relay", relay or "all")
    return blocks.unblock_all(session, now, f"mail was started by {actor.by}")
