"""The console's pages as part of the web application."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from pipeline.console import (
    backfills,
    deliveries,
    files,
    login,
    pages,
    recipients,
    run,
    run_acts,
    runs,
    schedules,
    system,
    today,
)
from pipeline.console.pages import HERE


class Static(StaticFiles):
    """Files of ours; their addresses change with what is in them."""

    def file_response(self, *args, **kwargs) -> Response:  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def install(app: FastAPI) -> None:
    """Serve the console beside the API."""
    app.mount("/static", Static(directory=HERE / "static"))
    for module in (login, today, runs, run, run_acts, deliveries, files, schedules, backfills, recipients, system):
        app.include_router(module.router)
    machines = app.exception_handlers[HTTPException]

    def lost(request: Request, error: Exception) -> Response:
        """People who mistype an address see a page, machines a problem."""
        browser = "text/html" in request.headers.get("Accept", "") and not request.url.path.startswith("/api/")
        if not browser or not isinstance(error, HTTPException) or error.status_code != 404:
            return machines(request, error)  # type: ignore[return-value]
        text = "There is no such page. It may have moved, or the address is not whole."
        return pages.page(request, "error.html", status=404, title="Not here", text=text)

    app.add_exception_handler(HTTPException, lost)
