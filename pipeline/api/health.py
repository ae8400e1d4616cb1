"""Whether this process lives, and whether a run that is opened now would be carried out."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="This process answers")
def live() -> dict[str, str]:
    """Answers as long as the process does, whatever else is away: for a supervisor that restarts it."""
    return {"status": "ok"}
