"""Addresses of ours, as a client reaches them."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import HTTPConnection

from pipeline.settings import settings


def absolute(request: HTTPConnection, path: str) -> str:
    """`path` behind PIPELINE_PUBLIC_URL; where there is none, behind the host that the client has asked."""
    root = settings().public_url or str(request.base_url)
    return f"{root.rstrip('/')}{path}"


def status_url(request: HTTPConnection, run_id: UUID) -> str:
    """Where a run's status is."""
    return absolute(request, f"/api/runs/{run_id}")
