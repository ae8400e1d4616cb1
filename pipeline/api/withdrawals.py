"""A link that is taken back before it ends, over HTTP, by its address."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from pipeline.adapters.secret_keys import secret_keys
from pipeline.api.identity import Operator
from pipeline.api.problems import RESPONSES
from pipeline.db import transaction
from pipeline.services import links
from pipeline.settings import settings

router = APIRouter(prefix="/api/links", tags=["artifacts"], responses=RESPONSES)


class Link(BaseModel):
    """A link of ours, as somebody has it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://reports.example.com/f/axD8ag", "reason": "to the wrong one"}]},
    )

    url: str = Field(min_length=1, max_length=2000)
    reason: str | None = Field(None, max_length=1000)


class TakenBack(BaseModel):
    """How it stands with the link."""

    new: bool = Field(description="false: it had been taken back before.")


@router.post("/withdraw", summary="Take back a link to a file")
def withdraw(link: Link, caller: Operator) -> TakenBack:
    """Whether it was shared or stands in a message: of that message all links end."""
    with transaction() as session:
        return TakenBack(new=links.withdraw(session, caller.actor, secret_keys(settings()), link.url, link.reason))
