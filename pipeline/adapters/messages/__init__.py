"""An e-mail as the exact bytes that go out: built once, quickly, signed, and without a header that was smuggled in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import Protocol

from pipeline.adapters.messages.addresses import (
    as_in_rows,
    ascii_domain,
    domain_of,
    split_address,
    valid_address,
    wire_address,
)
from pipeline.adapters.messages.headers import CRLF, checked, fold, header, phrase
from pipeline.adapters.messages.parts import Attachment, EncodedAttachment, body, encode
from pipeline.adapters.messages.signing import Signer
from pipeline.adapters.messages.signing import configured as configured_signer
from pipeline.errors import PermanentError

__all__ = [
    "Attachment",
    "EncodedAttachment",
    "Signer",
    "as_in_rows",
    "checked",
    "compose",
    "configured_signer",
    "domain_of",
    "encode",
    "split_address",
    "valid_address",
    "wire_address",
]

# Headers that `compose` writes, and Cc and Bcc: one message goes to one recipient.
OURS = {
    "auto-submitted", "bcc", "cc", "content-disposition", "content-transfer-encoding", "content-type", "date",
    "dkim-signature", "from", "list-id", "list-unsubscribe", "list-unsubscribe-post", "message-id", "mime-version",
    "reply-to", "subject", "to", "x-auto-response-suppress", "x-delivery-id",
}  # fmt: skip


class Person(Protocol):
    @property
    def email(self) -> str: ...
    @property
    def name(self) -> str | None: ...


def compose(  # noqa: PLR0913 - the parts of a message, all by name
    *,
    sender: str,
    recipient: Person,
    subject: str,
    text: str,
    html: str,
    images: Sequence[Attachment | EncodedAttachment] = (),
    attachments: Sequence[Attachment | EncodedAttachment] = (),
    message_id: str,
    delivery_id: str,
    reply_to: str | None = None,
    date: datetime,
    list_id: str | None = None,
    unsubscribe_url: str | None = None,
    headers: Mapping[str, str] | None = None,
    signer: Signer | None = None,
) -> bytes:
    """The message, serialised once: the same arguments give the same bytes, and these bytes go out on every attempt.

    `sender` and `reply_to` are `Name <address>` or an address, `message_id` is `<id@domain>`, `date` is aware,
    `list_id` is `Name <id>`. An empty `text` or `html` leaves its part out; `images` have content ids that the HTML
    names. Lines end with CRLF and are shorter than 999; headers are ASCII unless an address needs RFC 6532; parts are
    quoted-printable or base64. Raises PermanentError naming the field that cannot be sent.
    """
    identifier = re.fullmatch(r"<([!-;=?A-~]+)@([^<>@\s]+)>", message_id)
    if not identifier:
        raise PermanentError(f'message_id "{message_id}" must look like <id@domain>')
    lines = [
        _ours("From", "sender", sender),
        _mailbox("To", "recipient", recipient.name or "", recipient.email),
        *([_ours("Reply-To", "reply_to", reply_to)] if reply_to else []),
        header("Subject", "subject", subject),
        _dated(date, date.utcoffset()),
        header("Message-ID", "message_id", f"<{identifier[1]}@{ascii_domain(identifier[2])}>"),
        header("X-Delivery-ID", "delivery_id", delivery_id),
        # RFC 3834: no vacation notes, please. Exchange wants to be told in its own words.
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: OOF, AutoReply",
        *([_list_id(list_id)] if list_id else []),
        *(_unsubscribe(unsubscribe_url) if unsubscribe_url else []),
        *[_extra(name, value) for name, value in (headers or {}).items()],
        "MIME-Version: 1.0",
    ]
    content = body(text, html, images, attachments, hashlib.sha256(delivery_id.encode()).hexdigest()[:24])
    head = CRLF.join(lines).encode()
    whole = head + b"\r\n" + content
    return signer.signed(whole) if signer else whole


def _mailbox(name: str, field: str, person: str, address: str) -> str:
    shown = phrase(name, f"{field} name", person)
    bare = wire_address(address, field)
    return fold(f"{name}: {shown}<{bare}>" if shown else f"{name}: {bare}", field)


# What the messages of a run have in common.


@lru_cache(maxsize=64)
def _ours(name: str, field: str, value: str) -> str:
    return _mailbox(name, field, *split_address(value))


@lru_cache(maxsize=64)
def _dated(date: datetime, _offset: timedelta | None) -> str:
    """The same instant in two zones is equal, and reads differently."""
    return header("Date", "date", format_datetime(date))


@lru_cache(maxsize=64)
def _list_id(value: str) -> str:
    name, identifier = split_address(checked("list_id", value))
    identifier = ascii_domain(identifier)
    if not re.fullmatch(r"[\w.-]+", identifier, re.ASCII):
        raise PermanentError(f'list_id "{value}" must look like Name <name.domain> (RFC 2919)')
    return fold(f"List-Id: {phrase('List-Id', 'list_id', name)}<{identifier}>", "list_id")


def _unsubscribe(url: str) -> list[str]:
    """RFC 2369, and with https RFC 8058: mail programs offer one click, which POSTs to the address."""
    if not re.fullmatch(r"https?://[!-;=?-~]+", url):
        raise PermanentError(f'unsubscribe_url "{url}" is no http(s) address in ASCII')
    # In one line, however long: folded, it would arrive as encoded words with some libraries, and as none with others.
    line = fold(f"List-Unsubscribe: <{url}>", "unsubscribe_url")
    return [line, *(["List-Unsubscribe-Post: List-Unsubscribe=One-Click"] if url.startswith("https:") else [])]


def _extra(name: str, value: str) -> str:
    if not re.fullmatch(r"[!-9;-~]+", name):
        raise PermanentError(f"header name {name!r} must be ASCII without spaces or a colon")
    if name.lower() in OURS:
        raise PermanentError(f'header "{name}" is written by the pipeline itself: leave it out')
    return header(name, f"header {name}", value)
