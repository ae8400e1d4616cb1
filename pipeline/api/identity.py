"""Who is calling: a bearer token, the scope it has, and the actor that the record names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from pipeline.db import reading, transaction
from pipeline.models import Door, Scope
from pipeline.services import api_tokens
from pipeline.services.audit import Actor

_bearer = HTTPBearer(auto_error=False, description="A token made by `pipeline token create`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True)
class Caller:
    """Who is calling, and how far they may go."""

    actor: Actor
    scope: Scope
    token_id: UUID

    def may(self, scope: Scope) -> bool:
        ranks = list(Scope)
        return ranks.index(self.scope) >= ranks.index(scope)


def caller(request: Request, credentials: Credentials) -> Caller:
    """The caller that the token names. Raises 401 for none, and for one that is unknown, revoked or expired."""
    if credentials is None:
        raise _unknown("this needs a token: send `Authorization: Bearer …` (`pipeline token create` makes one)")
    with reading() as session:
        token = api_tokens.find(session, credentials.credentials)
        # By this machine's clock, which only says when to look again: what is written is by the database's.
        stale = token is not None and api_tokens.is_stale(token, datetime.now(UTC))
    if token is None:
        raise _unknown("the token is unknown, revoked or expired")
    if stale:
        with transaction(durable=False) as session:
            api_tokens.used(session, token)
    address = request.client.host if request.client else None
    return Caller(Actor(token.name, Door.HTTP, address), Scope(token.scope), token.id)


def allowed(scope: Scope) -> Callable[[Caller], Caller]:
    """A dependency: the caller, if their token reaches to `scope`; else 403."""

    def check(found: Annotated[Caller, Depends(caller)]) -> Caller:
        if not found.may(scope):
            raise HTTPException(403, f"this needs a token of scope {scope}; this one is of scope {found.scope}")
        return found

    return check


Reader = Annotated[Caller, Depends(allowed(Scope.READ))]
Operator = Annotated[Caller, Depends(allowed(Scope.OPERATE))]
Admin = Annotated[Caller, Depends(allowed(Scope.ADMIN))]


def _unknown(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
