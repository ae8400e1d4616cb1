"""Whether receivers can believe who our messages are from: the DKIM key, and what the DNS says of it."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.adapters.messages import configured_signer
from pipeline.doctor.check import Check, fault, fine, warning
from pipeline.errors import DefinitionError
from pipeline.settings import Settings

NAME = "DKIM"
DNS_PATIENCE = 5.0


def dkim(settings: Settings) -> Check:
    return examined(settings, published)


def examined(settings: Settings, ask: Callable[[str], str | None]) -> Check:
    """The check, where `ask` gives the TXT record of a name, or None where there is none. It may raise OSError."""
    try:
        signer = configured_signer(settings)
    except DefinitionError as error:
        return fault(NAME, error.reason, "correct PIPELINE_DKIM_KEY: until then nothing is sent")
    if signer is None:
        return fine(NAME, "messages are not signed here: PIPELINE_DKIM_KEY is not set")
    name = f"{signer.selector}._domainkey.{signer.domain}"
    try:
        said = ask(name)
    except OSError as error:
        return warning(NAME, f"{name} could not be looked up: {error}", "look whether the DNS can be reached")
    if said is None:
        return warning(NAME, f"the DNS has no record {name}", f'publish TXT "{signer.record()}" there')
    if _public_key(said) != _public_key(signer.record()):
        return fault(NAME, f"the DNS has another key at {name}", f'publish TXT "{signer.record()}" there')
    return fine(NAME, f"messages are signed for {signer.domain}; the DNS has the key at {name}")


def _public_key(record: str) -> str:
    found = re.search(r"(?:^|;)\s*p\s*=([^;]*)", record)
    return re.sub(r"\s+", "", found[1]) if found else ""


def published(name: str) -> str | None:
    """The TXT record of a name, None where there is none. Raises OSError where nobody answers."""
    from dns import exception, resolver

    try:
        answer = resolver.resolve(name, "TXT", lifetime=DNS_PATIENCE)
    except (resolver.NXDOMAIN, resolver.NoAnswer):
        return None
    except exception.DNSException as error:
        raise OSError(str(error)) from error
    return "".join(part.decode("ascii", "replace") for part in answer[0].strings)
