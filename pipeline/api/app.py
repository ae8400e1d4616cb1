"""The web application: the API under /api, and whatever else is served beside it."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from pipeline import __version__
from pipeline.api import (
    acts,
    artifacts,
    backfills,
    deliveries,
    handing,
    health,
    links,
    people,
    problems,
    runs,
    schedules,
    suppressions,
    watching,
    withdrawals,
)
from pipeline.api.parameters import check_query
from pipeline.api.shield import Shield
from pipeline.console.app import install as install_console

DESCRIPTION = """
Trigger reports, follow their runs, and ask who got what. Every call needs a token
(`pipeline token create`) as `Authorization: Bearer rpt_…`; errors are RFC 9457 problem details.
"""


def create_app() -> FastAPI:
    """The application of this process; its settings are those of `pipeline.settings`."""
    app = FastAPI(
        title="Report pipeline",
        version=__version__,
        description=DESCRIPTION,
        # FastAPI's pages for people fetch their scripts from elsewhere: the document itself needs nobody.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=handing.lifespan,
    )
    app.state.watchers = watching.Watchers(watching.look)
    handing.install(app)
    problems.install(app)
    app.add_middleware(Shield)
    # Before the runs': a path of theirs, with the name of what is in a run, would fit these as well.
    for part in (artifacts, deliveries, acts, runs, backfills, schedules, people, suppressions, withdrawals):
        app.include_router(part.router, dependencies=[Depends(check_query)])
    for part in (health, links):
        app.include_router(part.router)
    install_console(app)
    app.openapi = lambda: _documented(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


def _documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the one schema of all mistakes."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        made["components"]["schemas"]["Problem"] = problems.Problem.model_json_schema()
        app.openapi_schema = made
    return app.openapi_schema
