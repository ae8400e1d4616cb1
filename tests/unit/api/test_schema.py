"""Whatever is asked that fits the OpenAPI document is answered as it says, and never by a server's error."""

from __future__ import annotations

import os

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipeline.api import watching
from pipeline.models import Scope
from pipeline.services import ranges
from tests.factories import finished_run, make_delivery, make_document, make_schedule, make_step

# For each endpoint: seconds here, minutes in `make fuzz`.
EXAMPLES = int(os.environ.get("FUZZ", "4"))
# What a path names that is there: half of the requests are for these.
THERE = {"run_id": "shipments", "schedule": "nightly", "name": "document:ACME.pdf"}


def story():
    make_schedule()
    make_schedule("nightly", when={"cron": "0 3 * * *", "timezone": "Europe/Berlin"})
    run = finished_run(status="failed", error="it did not work")
    make_step(run, "fetch:rows", status="failed", attempts=("retry", "failed"))
    make_document(run, status="failed", error="no room")
    make_delivery(run)


def test_every_answer_is_as_the_document_says(app, as_, monkeypatch):
    monkeypatch.setattr(watching, "LONGEST", 0.05)
    monkeypatch.setattr(ranges, "MOST", 20)
    story()
    token = as_(Scope.ADMIN).headers["Authorization"]
    # Here is no broker: 503 is what it should say.
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app).exclude(path="/readyz")
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES < 10,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case):
            for name, value in (case.path_parameters or {}).items():
                if len(str(value)) % 2:
                    case.path_parameters[name] = THERE.get(name, value)
            # A period, an address or a mark that is none fits the document all the same.
            case.call_and_validate(headers={"Authorization": token}, excluded_checks=[positive_data_acceptance])

        check()
