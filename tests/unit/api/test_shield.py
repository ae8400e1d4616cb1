"""What is around every answer: headers, a limit, and a sentence where we have a bug."""

import pytest
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from pipeline.api.app import create_app
from pipeline.api.shield import LARGEST_BODY


class Nothing(BaseModel):
    pass


@pytest.fixture(scope="module")
def app():
    app = create_app()

    @app.get("/api/boom/{secret}")
    def boom(secret: str):
        raise RuntimeError(f"the password is {secret}")

    @app.post("/api/echo")
    def echo(body: dict[str, Nothing]):
        return body

    @app.get("/page")
    def page():
        return HTMLResponse("<p>", headers={"Content-Security-Policy": "default-src 'self'"})

    return app


def test_whoever_came_over_tls_is_told_to_come_so_again(app, http):
    assert "Strict-Transport-Security" not in http.get("/healthz").headers
    with TestClient(app, base_url="https://testserver") as safe:
        assert safe.get("/healthz").headers["Strict-Transport-Security"] == "max-age=15552000"


@pytest.mark.parametrize("path", ["/healthz", "/api/runs/1234", "/api/nowhere", "/api/boom/hunter2"])
def test_no_answer_is_kept_framed_or_guessed_at(http, path):
    headers = http.get(path).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "Server" not in headers


def test_a_page_says_for_itself_what_it_may_load(http):
    assert http.get("/page").headers["Content-Security-Policy"] == "default-src 'self'"


def test_a_bug_of_ours_is_a_problem_that_tells_nothing(http):
    answer = http.get("/api/boom/hunter2")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert "no mistake of yours" in answer.json()["detail"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("pieces", [1, 3])
def test_too_much_is_refused_whether_or_not_its_length_is_said(http, pieces):
    much = [b"x" * (LARGEST_BODY // pieces + 1)] * pieces
    answer = http.post("/api/echo", content=much[0] if pieces == 1 else iter(much))
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "the request's body is too large: it may have 1,000,000 bytes",
    )


@pytest.mark.parametrize("path", ["/api/runs?schedule=a%00b", "/api/runs/%00", "/d/%00"])
def test_a_nul_is_refused_before_a_database_hears_of_it(http, path):
    answer = http.get(path)
    assert (answer.status_code, answer.json()["detail"]) == (400, "the address has a NUL in it")


def test_half_a_character_in_a_mistake_is_told_all_the_same(http):
    answer = http.post("/api/echo", content=b'{"\\ud800": 1}', headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
