"""Whether beat does its work, by its signs of life in the database."""

from __future__ import annotations

import socket

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import Heartbeat

# Beat shows itself every ten seconds.
SILENCE_SECONDS = 60


def beat_trouble(session: Session) -> str | None:
    """What is wrong with this host's beat; None where it is well. One that cannot reach the database is not."""
    host = socket.gethostname()
    mine = Heartbeat.name.startswith(f"beat@{host}:", autoescape=True)
    newest = session.scalar(select(Heartbeat.at).where(mine).order_by(Heartbeat.at.desc()).limit(1))
    if newest is None:
        return f"no beat on {host} shows itself in the database"
    silence = (clock(session) - newest).total_seconds()
    return f"beat has been silent for {silence:.0f} s" if silence > SILENCE_SECONDS else None
