"""The pipelines of the functional tests, on either database, for faults in them."""

from __future__ import annotations

from tests.functional.conftest import pipeline, postgresql_pipeline, sqlite_pipeline

__all__ = ["pipeline", "postgresql_pipeline", "sqlite_pipeline"]
