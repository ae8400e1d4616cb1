"""Whether beats and workers do their work, by their signs of life in the database."""

from __future__ import annotations

import socket

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Heartbeat, Step, StepStatus

# Beat shows itself every ten seconds.
SILENCE_SECONDS = 60


def beat_trouble(session: Session) -> str | None:
    """What is wrong with this host's beat; None where it is well. One that cannot reach the database is not."""
    host = socket.gethostname()
    mine = Heartbeat.name.startswith(f"beat@{host}:", autoescape=True)
    return _silence(session, mine, f"no beat on {host} shows itself in the database")


def beats_trouble(session: Session) -> str | None:
    """What is wrong with the beats of all hosts together; None where one of them is well."""
    return _silence(session, Heartbeat.name.startswith("beat@"), "no beat shows itself in the database")


def somebody_works(session: Session) -> bool:
    """Whether a step is being carried out right now, which only a worker does."""
    at_work = (ACTIVE_STEP, Step.status == StepStatus.RUNNING, Step.lease_until > clock(session))
    return session.scalar(select(Step.id).where(*at_work).limit(1)) is not None


def _silence(session: Session, beats: ColumnElement[bool], nobody: str) -> str | None:
    newest = session.scalar(select(Heartbeat.at).where(beats).order_by(Heartbeat.at.desc()).limit(1))
    if newest is None:
        return nobody
    silence = (clock(session) - newest).total_seconds()
    return f"beat has been silent for {silence:.0f} s" if silence > SILENCE_SECONDS else None
