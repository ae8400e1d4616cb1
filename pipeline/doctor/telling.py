"""Whether anybody hears of failures."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from pipeline.db import clock, reading
from pipeline.doctor.check import Check, fine, warning
from pipeline.doctor.reach import sqlite_file
from pipeline.models import Notice, NoticeDelivery, NoticeStatus
from pipeline.services.answers import wording
from pipeline.services.answers.notices import listeners
from pipeline.settings import Settings

NAME = "notices"
# A notice that somebody never got is worth a warning for so long.
RECENT = timedelta(days=3)


def notices(settings: Settings) -> Check:
    """Who is told of failures, and whether notices have reached them lately."""
    file = sqlite_file(settings)
    if file and not file.exists():
        return fine(NAME, f"PIPELINE_NOTIFY names {wording.listed(settings.notify) or 'nobody'}")
    with reading() as session:
        named = listeners(session)
        of_late = (NoticeDelivery.notice_id == Notice.id, Notice.created_at > clock(session) - RECENT)
        lost = select(func.count()).where(*of_late, NoticeDelivery.status == NoticeStatus.FAILED)
        stuck = select(func.count()).where(
            *of_late, NoticeDelivery.status == NoticeStatus.WAITING, NoticeDelivery.attempts > 1
        )
        failed, waiting = session.scalar(lost) or 0, session.scalar(stuck) or 0
    if failed or waiting:
        found = f"{wording.counted(failed + waiting, 'notice')} of the last days did not reach somebody"
        return warning(NAME, found, "`pipeline notices --open` says why, `pipeline notify --test` tries again")
    if not named:
        said = "nobody is told of failures"
        advice = "set PIPELINE_NOTIFY to an address or a webhook, or `notify` in a schedule file"
        return (
            warning(NAME, said, advice) if settings.mail == "live" else fine(NAME, f"{said}: PIPELINE_NOTIFY is empty")
        )
    return fine(
        NAME, f"{wording.listed(str(one.target) for one in named[:3])} hear of failures" + " …" * (len(named) > 3)
    )
