"""Addresses that nothing of any schedule is sent to, over HTTP: listed, added, and taken off the list.

The address is in the body, never in the path: paths stand in the logs of whatever is in front.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from pipeline import fingerprint
from pipeline.adapters.messages.addresses import valid_address
from pipeline.adapters.secret_keys import secret_keys
from pipeline.api.identity import Operator, Reader
from pipeline.api.parameters import After, Limit
from pipeline.api.problems import RESPONSES
from pipeline.db import reading, transaction
from pipeline.services import answers, suppressing
from pipeline.services.answers import SuppressionPage
from pipeline.settings import settings

router = APIRouter(prefix="/api/suppressions", tags=["people"], responses=RESPONSES)


class Address(BaseModel):
    """Somebody's address, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"address": "ops@ua.example", "reason": "asked by phone"}]}
    )

    address: str = Field(min_length=1, max_length=320)
    reason: str | None = Field(None, max_length=1000)


class Suppressed(BaseModel):
    """How it stands with the address."""

    address: str
    suppressed: bool
    new: bool = Field(description="false: it stood like that before, and the first reason stays.")


@router.get("", summary="List to whom nothing is sent")
def list_suppressions(
    caller: Reader,
    text: Annotated[str | None, Query(max_length=320, description="A part of an address or of a reason.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> SuppressionPage:
    """The newest first. `address` is null for somebody who was forgotten: a keyed hash of it is kept."""
    with reading() as session:
        return answers.suppression_page(session, text, limit=limit, after=after)


@router.post("", summary="Send an address nothing more")
def suppress(said: Address, caller: Operator) -> Suppressed:
    """Of any schedule, also what is planned and not yet sent."""
    whom = valid_address(said.address)
    mark = fingerprint.of(secret_keys(settings()), whom)
    with transaction() as session:
        reason = said.reason or f"asked for by {caller.actor.by}"
        new = suppressing.suppress(session, caller.actor, whom, reason, mark)
    return Suppressed(address=whom, suppressed=True, new=new)


@router.post("/lift", summary="Let mail go to an address again")
def unsuppress(said: Address, caller: Operator) -> Suppressed:
    """What it had unsubscribed from stays so. 404 where nothing keeps mail from it."""
    whom = valid_address(said.address)
    with transaction() as session:
        marks = fingerprint.every(secret_keys(settings()), whom)
        suppressing.unsuppress(session, caller.actor, whom, marks, said.reason)
    return Suppressed(address=whom, suppressed=False, new=True)
