"""Hands a letter to a mail relay or a webhook, and says in their own words what they answered."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.adapters import mail_routes, mailer, messages
from pipeline.adapters.http_answers import TRANSIENT, beginning, retry_after
from pipeline.adapters.notices import shapes
from pipeline.adapters.notices.words import page
from pipeline.errors import DefinitionError, PermanentError, TransientError
from pipeline.notice import Letter, Shape, Target
from pipeline.replies import Kind
from pipeline.schedule import Person
from pipeline.settings import settings

if TYPE_CHECKING:
    import httpx

# Seconds that an answer may take, the one to a mail's final dot too: a notice is repeated rather than waited for.
PATIENCE, DOT_PATIENCE = 10.0, 60.0
# An answer is kept to its first characters.
KEPT = 300


def send(target: Target, letter: Letter) -> str:
    """Send the letter; returns the other side's answer.

    Raises TransientError where trying again may help (with `retry_after` where the server asks for it), PermanentError
    where it does not.
    """
    if target.name:
        try:
            target = settings().hook(target.name)
        except DefinitionError as error:
            raise TransientError(str(error)) from error
    return _mail(target.where, letter) if target.shape == Shape.MAIL else _post(target, letter)


def _mail(address: str, letter: Letter) -> str:
    """By the first relay that takes it."""
    sender = settings().mail_from
    data = compose(address, letter, sender)
    away: list[str] = []
    for url in mailer.relays(settings()).values():
        try:
            return _hand_over(url, messages.split_address(sender)[1], address, data)
        except (mailer.RelayDown, mailer.ConfigurationFault) as error:
            away.append(str(error))
    raise TransientError("; ".join(away))


def _hand_over(url: str, sender: str, address: str, data: bytes) -> str:
    """The relay's answer. Raises as `send` does, and RelayDown or ConfigurationFault: certainly not sent."""
    catcher = url == settings().catcher_url
    relay = mailer.Relay(url, timeout=PATIENCE, dot_timeout=DOT_PATIENCE, catcher=catcher)
    try:
        verdict = relay.send(sender, mail_routes.envelope(settings(), address), data, lambda: None)
    except mailer.Unknown as error:
        # Repeated under the same Message-ID: a notice may come twice, but not never.
        raise TransientError(str(error)) from error
    except mailer.RecipientRefused as error:
        if error.verdict.kind in {Kind.RECIPIENT_TRANSIENT, Kind.THROTTLED}:
            raise TransientError(str(error), retry_after=error.verdict.wait) from error
        raise PermanentError(str(error)) from error
    finally:
        relay.close()
    return f"{verdict.code} {verdict.text}"[:KEPT]


def compose(address: str, letter: Letter, sender: str) -> bytes:
    """The letter's e-mail: the same bytes on every attempt."""
    domain = messages.domain_of(sender)
    return messages.compose(
        sender=sender,
        recipient=Person(email=address),
        subject=letter.title,
        text=page(letter, "txt"),
        html=page(letter, "html"),
        message_id=f"<{letter.id}@{domain}>",
        delivery_id=str(letter.id),
        date=letter.at,
        # Programs for mail show what concerns one matter as one thread.
        headers={"References": f"<{letter.about}@{domain}>"},
        signer=_signer(),
    )


def _signer() -> messages.Signer | None:
    """What messages are signed with; a key that is none is better told of without a signature than not at all."""
    with suppress(DefinitionError):
        return messages.configured_signer(settings())
    return None


def _post(target: Target, letter: Letter) -> str:
    import httpx

    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"report-pipeline/{__version__}",
        "Idempotency-Key": str(letter.id),
    }
    body = json.dumps(shapes.payload(letter, target.shape), ensure_ascii=False).encode()
    try:
        with (
            httpx.Client(timeout=PATIENCE, follow_redirects=False) as client,
            client.stream("POST", target.where, content=body, headers=headers) as response,
        ):
            return _answer(target, response)
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        raise TransientError(f"{target} does not answer: {reason}") from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise PermanentError(f"{target} cannot be called: {error}") from error


def _answer(target: Target, response: httpx.Response) -> str:
    """What a webhook said. Raises as `send` does."""
    said = f"{response.status_code} {beginning(response, KEPT, PATIENCE)}".strip()
    # Teams' connectors say 200 also to what they could not take.
    disguised = re.search(r"HTTP error (\d{3})", said) if target.shape == Shape.TEAMS else None
    code = int(disguised[1]) if disguised else response.status_code
    if 200 <= code < 300:
        return said
    sentence = f"{target} answered {said}"
    if code >= 500 or code in TRANSIENT:
        raise TransientError(sentence, retry_after=retry_after(response))
    raise PermanentError(sentence)
