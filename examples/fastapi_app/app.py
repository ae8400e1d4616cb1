"""A FastAPI application that starts reports, shows how far they are, and ends them, over the pipeline's HTTP API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from pipeline.client import ClientError, Conflict, Pipeline, Problem, Unreachable

app = FastAPI(title="Shop")
# Its address and token: PIPELINE_API_URL and PIPELINE_API_TOKEN.
pipeline = Pipeline()


@app.post("/reports/{schedule}", status_code=202)
def start(schedule: str, request: Request, response: Response, wish: Annotated[dict[str, Any] | None, Body()] = None):
    """Start one, with what the body says (period, keys, params, to, send): 202 and where its status is.

    An `Idempotency-Key` of the browser's is handed on: the same click twice is one run.
    """
    try:
        run = pipeline.trigger(schedule, **(wish or {}), idempotency_key=request.headers.get("Idempotency-Key"))
    except TypeError as unknown:
        return JSONResponse({"error": str(unknown)}, 422)
    where = str(request.url_for("status", run=run.id))
    response.headers["Location"] = where
    return {"id": run.id, "status_url": where}


@app.get("/reports/{run}")
def status(run: str):
    """How far it is: counts, and in the end what came of it, or the error with its traceback."""
    return pipeline.status(run).said


@app.post("/reports/{run}/cancel")
def cancel(run: str):
    return pipeline.cancel(run, reason="ended in the shop").said


@app.exception_handler(ClientError)
def refused(request: Request, error: ClientError):
    """409 while another run is active, with its status; 404, 422: as the pipeline says it; 503 where it is away.

    What this application did wrong, with its token for instance, is a 502.
    """
    said = {"error": str(error)}
    if isinstance(error, Conflict) and error.run:
        said |= {"run": error.run, "status_url": str(request.url_for("status", run=error.run))}
    if isinstance(error, Unreachable):
        return JSONResponse(said, 503, {"Retry-After": "5"})
    code = error.status if isinstance(error, Problem) and error.status in {404, 409, 422} else 502
    return JSONResponse(said, code)
