"""What a try was about when its process died: the next one is careful with that."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pipeline.models import Attempt, Outcome
from pipeline.services.steps.claiming import Claim
from pipeline.services.steps.releasing import POISONOUS


def progressed(session: Session, attempt_id: UUID) -> None:
    """Something of this attempt stays done: should its process die, that is no sign that the step kills processes."""
    session.execute(update(Attempt).where(Attempt.id == attempt_id).values(progressed=True))


def working_on(session: Session, attempt_id: UUID, what: str | None) -> None:
    """Remember what the attempt is about to make: should its process die, that is suspected, and not its whole step.

    None: it waits, and whoever dies then died over nothing.
    """
    mine = update(Attempt).where(Attempt.id == attempt_id)
    session.execute(mine.values(working_on=what, progressed=True))


@dataclass(frozen=True)
class Suspicion:
    """What earlier tries of a step say: whether care is called for, and what has cost processes often enough."""

    careful: bool = False
    deadly: frozenset[str] = frozenset()


def suspicion(session: Session, claim: Claim) -> Suspicion:
    """How this try is to go about it, by how those before it in the same generation ended."""
    mine = (Attempt.step_id == claim.step.id, Attempt.generation == claim.step.generation)
    wrong = (*mine, Attempt.outcome.in_((Outcome.ABANDONED, Outcome.RETRY)))
    if session.scalar(select(Attempt.id).where(*wrong).limit(1)) is None:
        return Suspicion()
    died = (*mine, Attempt.outcome == Outcome.ABANDONED, Attempt.working_on.is_not(None))
    # Whoever is killed for other reasons often dies over the first one: twice would prove nothing.
    deadly = select(Attempt.working_on).where(*died).group_by(Attempt.working_on)
    found = session.scalars(deadly.having(func.count() >= POISONOUS))
    return Suspicion(careful=True, deadly=frozenset(one for one in found if one is not None))
