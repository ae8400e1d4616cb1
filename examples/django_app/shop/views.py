"""Views that start reports, show how far they are, and end them; they only send Celery tasks."""

import json

from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from shop import reports


@require_http_methods(["GET", "POST"])
def report(request: HttpRequest, name: str) -> JsonResponse:
    """POST starts the schedule `name`: 202 and where its status is. GET says how far the run `name` is."""
    if request.method == "GET":
        return JsonResponse(reports.status(name))
    try:
        wish = json.loads(request.body or "{}")
    except ValueError:
        return JsonResponse({"error": "the body is not JSON"}, status=400)
    if not isinstance(wish, dict):
        return JsonResponse({"error": 'the body is a JSON object, such as {"period": "last_week"}'}, status=400)
    run = reports.start(name, {**wish, "by": "django_app"})
    where = request.build_absolute_uri(reverse("report", args=[run]))
    return JsonResponse({"id": run, "status_url": where}, status=202, headers={"Location": where})


@require_POST
def cancel(_: HttpRequest, run: str) -> JsonResponse:
    return JsonResponse(reports.cancel(run, reason="ended in the shop", by="django_app"))


class Refusals:
    """What the pipeline refuses becomes an answer: 404, 409 while another run is active, 422, 503 if nobody answers."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest):
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> JsonResponse | None:
        said = {"error": str(error)}
        match error:
            case reports.NotFound():
                return JsonResponse(said, status=404)
            case reports.Occupied(run=run):
                where = request.build_absolute_uri(reverse("report", args=[run]))
                return JsonResponse({**said, "run": run, "status_url": where}, status=409)
            case reports.Refused():
                return JsonResponse(said, status=422)
            case reports.NoAnswer() | TimeoutError():
                return JsonResponse(said, status=503, headers={"Retry-After": "5"})
        return None
