"""The door of the console: who is let in, how, for how long, and what knocks in vain."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pipeline.adapters import passwords
from pipeline.db import reading, transaction
from pipeline.models import Audit, Login, LoginAttempt, Scope
from pipeline.services import logins, users
from pipeline.services.audit import Actor
from pipeline.settings import settings
from tests.factories import make_run
from tests.unit.console.visits import logged_in, send, text_of, token_of

ANNA = Actor("anna", "cli")
SECRET = "correct horse battery"


def user(name="bob", role=Scope.OPERATE):
    with transaction() as session:
        users.add(session, ANNA, name, passwords.hashed(SECRET), role)


def knock(client, name="bob", password=SECRET, **more):
    return send(client, "/login", "/login", name=name, password=password, **more)


def test_a_page_asks_who_it_is_and_then_goes_on_to_where_they_wanted(stranger):
    user()
    asked = stranger.get("/runs?status=failed", follow_redirects=False)
    assert (asked.status_code, asked.headers["Location"]) == (303, "/login?next=/runs%3Fstatus%3Dfailed")
    entered = knock(stranger, next="/runs?status=failed")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/runs?status=failed")
    cookie = entered.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=lax"))
    assert stranger.get("/runs").status_code == 200
    assert "bob" in text_of(stranger.get("/runs").text)


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "/logout", "x"])
def test_nobody_is_sent_to_another_site(stranger, elsewhere):
    user()
    assert knock(stranger, next=elsewhere).headers["Location"] == "/"


def test_a_wrong_password_and_an_unknown_name_are_told_alike(stranger):
    user()
    wrong, unknown = knock(stranger, password="guess"), knock(stranger, name="nobody", password="guess")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert all("The name or the password is not right." in text_of(one.text) for one in (wrong, unknown))
    assert not stranger.cookies.get("pipeline_login")


def test_five_wrong_passwords_close_the_door_for_a_while_also_to_the_right_one(stranger):
    user()
    for _ in range(5):
        assert knock(stranger, password="guess").status_code == 401
    closed = knock(stranger)
    assert (closed.status_code, "try again in 15 minutes" in text_of(closed.text)) == (429, True)
    assert 14 * 60 < int(closed.headers["Retry-After"]) <= 15 * 60
    user("carla")
    assert knock(stranger, name="carla").status_code == 303
    with transaction() as session:
        for row in session.scalars(select(LoginAttempt)):
            row.at -= timedelta(minutes=16)
    stranger.cookies.clear()
    assert knock(stranger).status_code == 303


def test_one_network_that_tries_many_names_is_stopped_too(stranger):
    answers = [knock(stranger, name=f"user{number}", password="guess").status_code for number in range(31)]
    assert answers == [401] * 30 + [429]


def test_a_form_of_another_browser_or_site_logs_nobody_in(stranger):
    user()
    token = token_of(stranger.get("/login").text)
    stranger.cookies.clear()
    form = {"csrf": token, "name": "bob", "password": SECRET}
    assert stranger.post("/login", data=form).status_code == 403
    token = token_of(stranger.get("/login").text)
    form["csrf"] = token
    for head in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "file://"}):
        assert stranger.post("/login", data=form, headers=head).status_code == 403
    assert stranger.post("/login", data=form, follow_redirects=False).status_code == 303


def test_a_proxy_that_hands_on_no_host_is_named_and_the_public_address_is_ours_all_the_same(stranger, monkeypatch):
    """As nginx does by itself, and as a browser tells that sends no Sec-Fetch-Site."""
    user()
    head = {"Host": "127.0.0.1:8000", "Origin": "https://reports.example.com"}
    form = {"csrf": token_of(stranger.get("/login").text), "name": "bob", "password": SECRET}
    refused = stranger.post("/login", data=form, headers=head)
    assert (refused.status_code, "PIPELINE_PUBLIC_URL to name it" in text_of(refused.text)) == (403, True)
    monkeypatch.setenv("PIPELINE_PUBLIC_URL", "https://reports.example.com")
    settings.cache_clear()
    assert stranger.post("/login", data=form, headers=head, follow_redirects=False).status_code == 303


def test_a_link_logs_in_once_and_a_look_at_it_uses_nothing_up(stranger):
    with transaction() as session:
        secret = logins.make_link(session, ANNA)
    for _ in range(2):
        assert "This link logs you in once." in stranger.get(f"/login/{secret}").text
    assert send(stranger, f"/login/{secret}", f"/login/{secret}").status_code == 303
    assert "anna" in text_of(stranger.get("/runs").text)
    stranger.cookies.clear()
    again = stranger.get(f"/login/{secret}")
    assert "was used already, or is too old" in text_of(again.text)
    with reading() as session:
        by = session.scalars(select(Audit).where(Audit.action == "log in")).one()
        assert (by.by, by.source, secret in str(vars(by))) == ("anna", "console", False)


def test_logging_out_ends_the_login_itself_and_not_only_the_cookie(http):
    kept = dict(http.cookies)
    assert send(http, "/runs", "/logout").status_code == 303
    http.cookies.update(kept)
    assert http.get("/runs", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("change", ["password", "role", "remove"])
def test_another_password_or_role_logs_them_out_everywhere(stranger, change):
    user()
    knock(stranger)
    with transaction() as session:
        if change == "remove":
            users.remove(session, ANNA, "bob")
        else:
            users.change(session, ANNA, "bob", **({"kept": "x"} if change == "password" else {"role": Scope.READ}))
    assert stranger.get("/runs", follow_redirects=False).headers["Location"].startswith("/login")


def test_a_login_ends_when_nobody_was_there_for_days(http):
    with transaction() as session:
        login = session.scalar(select(Login))
        login.seen_at -= timedelta(days=4)
    assert http.get("/runs", follow_redirects=False).status_code == 303


def test_a_cookie_that_was_made_up_is_nobody(stranger):
    for made_up in ("x", "AAAA" * 12, ""):
        stranger.cookies.set("pipeline_login", made_up)
        assert stranger.get("/runs", follow_redirects=False).status_code == 303
    stranger.cookies.delete("pipeline_login")


def test_a_form_needs_its_token_a_role_and_a_page_of_ours(stranger):
    run = make_run(status="running")
    reader = logged_in(stranger, Scope.READ, "eyes")
    token = token_of(reader.get("/runs").text)
    cancel = f"/runs/{run.id}/cancel"
    answer = reader.post(cancel, data={"csrf": token})
    assert (answer.status_code, "eyes has the role read" in text_of(answer.text)) == (403, True)
    stranger.cookies.clear()
    operator = logged_in(stranger, Scope.OPERATE)
    for wrong in ("", "AAAA", token):
        assert operator.post(cancel, data={"csrf": wrong}).status_code == 403
    mine = token_of(operator.get("/runs").text)
    assert operator.post(cancel, data={"csrf": mine}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert operator.post(cancel, data={"csrf": mine}, follow_redirects=False).status_code == 303


def test_every_page_forbids_scripts_frames_and_keeping(http):
    for path in ("/login", "/runs", "/nothing"):
        head = http.get(path, headers={"Accept": "text/html"}).headers
        assert "script-src 'self'" in head["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in head["Content-Security-Policy"]
        assert "unsafe" not in head["Content-Security-Policy"]
        assert (head["Cache-Control"], head["X-Content-Type-Options"]) == ("private, no-store", "nosniff")


def test_a_wrong_address_is_a_page_for_people_and_a_problem_for_machines(http):
    assert "There is no such page." in http.get("/nothing", headers={"Accept": "text/html"}).text
    assert http.get("/nothing").headers["Content-Type"] == "application/problem+json"
    assert (
        http.get("/api/nothing", headers={"Accept": "text/html"}).headers["Content-Type"] == "application/problem+json"
    )


def test_a_database_that_is_away_is_a_page_that_says_so(http, monkeypatch):
    def gone(*_, **__):
        raise OperationalError("select", {}, Exception("connection refused"))

    monkeypatch.setattr("pipeline.console.runs.answers.run_page", gone)
    answer = http.get("/runs")
    assert answer.status_code == 503
    assert "database does not answer" in text_of(answer.text)
    assert "select" not in text_of(answer.text).partition("Not now")[2]
