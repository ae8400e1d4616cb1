"""A browser for tests of the console, without a browser: it keeps cookies, and sends the forms that pages have."""

from __future__ import annotations

import re
from html import unescape

from fastapi.testclient import TestClient

from pipeline.db import transaction
from pipeline.models import Scope
from pipeline.services import logins
from pipeline.services.audit import Actor


def logged_in(client: TestClient, role: Scope = Scope.ADMIN, name: str = "anna") -> TestClient:
    """The client, logged in as somebody with that role."""
    with transaction() as session:
        secret = logins.make_link(session, Actor(name, "cli"), role)
    send(client, f"/login/{secret}", f"/login/{secret}")
    return client


def token_of(page: str) -> str:
    """What the page's forms carry."""
    return unescape(re.search(r'name="csrf" value="([^"]+)"', page)[1])


def send(client: TestClient, page: str, to: str, /, **fields: str):
    """Load a page and send a form of it; the answer, redirects not followed."""
    token = token_of(client.get(page).text)
    return client.post(to, data={"csrf": token, **fields}, follow_redirects=False)


def text_of(page: str) -> str:
    """What the page says, without its marks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
