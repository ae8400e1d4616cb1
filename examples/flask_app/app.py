"""A Flask application that starts reports, shows how far they are, and ends them; it only sends Celery tasks."""

from __future__ import annotations

import reports
from flask import Flask, jsonify, request, url_for
from werkzeug.exceptions import BadRequest

app = Flask(__name__)


@app.post("/reports/<schedule>")
def start(schedule: str):
    """Start one, with what the body says (period, key, params, to, send): 202 and where its status is.

    Without a body it is all of the schedule's own; half a body is a mistake, and starts nothing.
    """
    wish = request.get_json(force=True) if request.get_data() else {}
    if not isinstance(wish, dict):
        raise BadRequest
    run = reports.start(schedule, {**wish, "by": "flask_app"})
    where = url_for("status", run=run, _external=True)
    return jsonify(id=run, status_url=where), 202, {"Location": where}


@app.get("/reports/<run>")
def status(run: str):
    """How far it is: counts, and in the end what came of it, or the error with its traceback."""
    return jsonify(reports.status(run))


@app.post("/reports/<run>/cancel")
def cancel(run: str):
    return jsonify(reports.cancel(run, reason="ended in the shop", by="flask_app"))


@app.errorhandler(reports.NotFound)
def not_found(error: Exception):
    return jsonify(error=str(error)), 404


@app.errorhandler(reports.Occupied)
def occupied(error: reports.Occupied):
    """Another run is active: which one, and where its status is."""
    return jsonify(error=str(error), run=error.run, status_url=url_for("status", run=error.run, _external=True)), 409


@app.errorhandler(reports.Refused)
def refused(error: Exception):
    """It cannot be as asked: a field or a period that is none, a run that has ended."""
    return jsonify(error=str(error)), 422


@app.errorhandler(BadRequest)
def no_json(_: BadRequest):
    return jsonify(error='the body is a JSON object, such as {"period": "last_week"}'), 400


@app.errorhandler(reports.NoAnswer)
@app.errorhandler(TimeoutError)
def no_answer(error: Exception):
    return jsonify(error=str(error)), 503, {"Retry-After": "5"}
