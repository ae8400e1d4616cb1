"""Every page of the console; `pipeline.api.app` serves them."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
