"""The web application: the API under /api, and whatever else is served beside it."""

from __future__ import annotations

from fastapi import FastAPI

from pipeline import __version__
from pipeline.api import health, links, problems, runs
from pipeline.api.shield import Shield
from pipeline.console import routes

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
    )
    problems.install(app)
    app.add_middleware(Shield)
    app.include_router(health.router)
    app.include_router(runs.router)
    app.include_router(links.router)
    app.include_router(routes.router)
    return app
