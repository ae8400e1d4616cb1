"""Telling people never keeps from happening what they are told of."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pipeline import log
from pipeline.db import is_away

logger = log.get(__name__)


def aside(session: Session, tell: Callable[[], object]) -> None:
    """Tell in the transaction at hand; a mistake made in telling is logged, and the transaction goes on without it."""
    try:
        with session.begin_nested():
            tell()
    except Exception as error:
        if isinstance(error, DBAPIError) and is_away(error):
            raise
        logger.exception("a notice could not be written", error=str(error))
