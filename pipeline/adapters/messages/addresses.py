"""Addresses: as they stand in rows, and as SMTP and headers carry them."""

from __future__ import annotations

import re
from email.utils import unquote
from functools import lru_cache

from pipeline.adapters.messages.headers import checked
from pipeline.errors import PermanentError

# What nearly every address looks like, already as rows have it: beyond doubt, and a hundred times faster to see.
PLAIN = re.compile(
    r"(?=.{3,254}$)[\w+-]+(\.[\w+-]+)*@(?!\S*--)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", re.ASCII
)


def split_address(text: str) -> tuple[str, str]:
    """The name ("" when there is none) and the address in `Name <address>`; commas in names need no quotes."""
    found = re.fullmatch(r"\s*(.*?)\s*<([^<>]*)>\s*", text, re.DOTALL)
    return (unquote(found[1]), found[2]) if found else ("", text)


def domain_of(sender: str) -> str:
    """`example.com` of `Reports <reports@example.com>`, as it travels: in ASCII; localhost where there is none."""
    return ascii_domain(split_address(sender)[1].rpartition("@")[2] or "localhost")


def is_plain(address: str) -> bool:
    """Whether it is an address that looks like nearly all, as rows and SMTP have it."""
    return (
        PLAIN.fullmatch(address) is not None and address.index("@") <= 64 and not address.endswith(("invalid", "onion"))
    )


@lru_cache(maxsize=4096)
def valid_address(text: str, field: str = "address") -> str:
    """The address as it is written in rows: domain in lower case and in Unicode, spaces around it gone.

    Only its form is checked, no DNS: addresses of an intranet without a dot are fine. Raises PermanentError.
    """
    if is_plain(text):
        return text
    import email_validator

    # Reports go to root@localhost and ops@mail.corp.local as well; the list is the library's own switch for that.
    email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = ["invalid", "onion"]
    address = checked(field, text).strip()
    try:
        found = email_validator.validate_email(address, check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError as error:
        alone = split_address(address)[1]
        why = error if alone == address else f"write {alone} alone; a name has a field of its own, `name`"
        raise PermanentError(f'{field} "{address}" is not an e-mail address: {why}') from None
    return found.normalized


def as_in_rows(text: str) -> str:
    """What somebody typed, or read in a relay's log, as rows have an address or a domain; anything else as it is."""
    if "://" in text:
        return text
    local, at, domain = text.rpartition("@")
    return f"{local}{at}{re.sub('(?i)xn--[a-z0-9-]+', _in_unicode, domain.lower() if at else domain)}"


def _in_unicode(label: re.Match[str]) -> str:
    import idna

    try:
        return idna.decode(label[0])
    except idna.IDNAError:
        return label[0]


@lru_cache(maxsize=4096)
def wire_address(address: str, field: str = "address") -> str:
    """The address as SMTP and headers carry it: an international domain in its ASCII form (xn--…).

    Not ASCII only where the part before the @ is not (RFC 6531). Raises PermanentError for what is not an address.
    """
    if is_plain(address):
        return address
    local, _, domain = valid_address(address, field).rpartition("@")
    return f"{local}@{ascii_domain(domain)}"


def ascii_domain(domain: str) -> str:
    """The domain in ASCII (IDNA 2008, after the mapping of UTS 46). Raises PermanentError for what is none."""
    if domain.isascii():
        return domain
    import idna

    try:
        labels = [idna.encode(part, uts46=True).decode() if not part.isascii() else part for part in domain.split(".")]
    except UnicodeError as error:
        raise PermanentError(f'"{domain}" is no domain: {error}') from None
    return ".".join(labels)
