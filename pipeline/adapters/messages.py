"""An e-mail as the exact bytes that go out: built once, quickly, and without a header that somebody smuggled in."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime, unquote
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote

from pipeline.errors import PermanentError

CRLF = "\r\n"
# RFC 5322 2.1.1: characters of a line without its CRLF.
LONGEST_LINE = 998
# Anything that could end a header line, or that no header may hold: C0, C1, line and paragraph separators.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 5322 3.2.3: a phrase of these needs no quotes.
ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+( [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w\"-]+)*", re.ASCII)
# Headers that `compose` writes, and Cc and Bcc: one message goes to one recipient.
OURS = {
    "auto-submitted", "bcc", "cc", "content-disposition", "content-transfer-encoding", "content-type", "date", "from",
    "list-id", "message-id", "mime-version", "reply-to", "subject", "to", "x-delivery-id",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to attach: its name as the reader sees it, its media type such as application/pdf, its bytes."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class EncodedAttachment:
    """An attachment made ready once, for all messages that carry it: a finished MIME part."""

    part: bytes


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
    attachments: Sequence[Attachment | EncodedAttachment] = (),
    message_id: str,
    delivery_id: str,
    reply_to: str | None = None,
    date: datetime,
    list_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The message, serialised once: the same arguments give the same bytes, and these bytes go out on every attempt.

    `sender` and `reply_to` are `Name <address>` or an address, `message_id` is `<id@domain>`, `date` is aware,
    `list_id` is `Name <id>`. An empty `text` or `html` leaves its part out. Lines end with CRLF and are shorter than
    999; headers are ASCII unless an address needs RFC 6532; parts are quoted-printable or base64.
    Raises PermanentError naming the field that cannot be sent.
    """
    identifier = re.fullmatch(r"<([!-;=?A-~]+)@([^<>@\s]+)>", message_id)
    if not identifier:
        raise PermanentError(f'message_id "{message_id}" must look like <id@domain>')
    lines = [
        _mailbox("From", "sender", *split_address(sender)),
        _mailbox("To", "recipient", recipient.name or "", recipient.email),
        *([_mailbox("Reply-To", "reply_to", *split_address(reply_to))] if reply_to else []),
        _header("Subject", "subject", subject),
        _header("Date", "date", format_datetime(date)),
        _header("Message-ID", "message_id", f"<{identifier[1]}@{_ascii_domain(identifier[2])}>"),
        _header("X-Delivery-ID", "delivery_id", delivery_id),
        # RFC 3834: no vacation notes, please.
        "Auto-Submitted: auto-generated",
        *([_list_id(list_id)] if list_id else []),
        *[_extra(name, value) for name, value in (headers or {}).items()],
        "MIME-Version: 1.0",
    ]
    body = _body(text, html, attachments, hashlib.sha256(delivery_id.encode()).hexdigest()[:24])
    return b"\r\n".join([*(line.encode() for line in lines), body])


def encode(attachment: Attachment) -> EncodedAttachment:
    """Encode an attachment once; worth it when several messages carry it. Raises PermanentError naming the field."""
    if not MEDIA_TYPE.fullmatch(attachment.media_type):
        raise PermanentError(f'attachment "{attachment.name}": "{attachment.media_type}" is no media type')
    name = _checked("attachment name", attachment.name)
    if name.isascii() and "=?" not in name:
        file_name = 'filename="{}"'.format(re.sub(r'(["\\])', r"\\\1", name))
    else:
        # RFC 2231: attribute characters stay, all else is percent-encoded UTF-8.
        file_name = "filename*=utf-8''" + quote(name, safe="!#$&+-.^_`|~")
    head = (
        f"Content-Type: {attachment.media_type}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"{_fold(f'Content-Disposition: attachment; {file_name}', 'attachment name')}\r\n\r\n"
    )
    return EncodedAttachment(head.encode() + _base64(attachment.data))


def split_address(text: str) -> tuple[str, str]:
    """The name ("" when there is none) and the address in `Name <address>`; commas in names need no quotes."""
    found = re.fullmatch(r"\s*(.*?)\s*<([^<>]*)>\s*", text, re.DOTALL)
    return (unquote(found[1]), found[2]) if found else ("", text)


def domain_of(sender: str) -> str:
    """`example.com` of `Reports <reports@example.com>`; localhost where there is none."""
    return split_address(sender)[1].rpartition("@")[2] or "localhost"


@lru_cache(maxsize=4096)
def valid_address(text: str, field: str = "address") -> str:
    """The address as it is written in rows: domain in lower case and in Unicode, spaces around it gone.

    Only its form is checked, no DNS: addresses of an intranet without a dot are fine. Raises PermanentError.
    """
    import email_validator

    # Reports go to root@localhost and ops@mail.corp.local as well; the list is the library's own switch for that.
    email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = ["invalid", "onion"]
    address = _checked(field, text).strip()
    try:
        found = email_validator.validate_email(address, check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError as error:
        raise PermanentError(f'{field} "{address}" is not an e-mail address: {error}') from None
    return found.normalized


@lru_cache(maxsize=4096)
def wire_address(address: str, field: str = "address") -> str:
    """The address as SMTP and headers carry it: an international domain in its ASCII form (xn--…).

    Not ASCII only where the part before the @ is not (RFC 6531). Raises PermanentError for what is no address.
    """
    local, _, domain = valid_address(address, field).rpartition("@")
    return f"{local}@{_ascii_domain(domain)}"


def _ascii_domain(domain: str) -> str:
    if domain.isascii():
        return domain
    import idna

    try:
        labels = [idna.encode(part, uts46=True).decode() if not part.isascii() else part for part in domain.split(".")]
    except UnicodeError as error:
        raise PermanentError(f'"{domain}" is no domain: {error}') from None
    return ".".join(labels)


def _checked(field: str, value: str) -> str:
    """`value` if it can stand in a header; else PermanentError naming `field` and what is wrong."""
    found = CONTROLS.search(value)
    if found:
        kind = "a line break" if found[0] in "\r\n\x0b\x0c\x85\u2028\u2029" else "a control character"
        raise PermanentError(f"{field} {value!r} holds {kind}: take it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PermanentError(f"{field} {value!r} holds half a character (a lone surrogate): take it out") from None
    return value


def _header(name: str, field: str, value: str) -> str:
    value = _checked(field, value).strip()
    # ASCII that looks like an encoded word would be decoded by the reader: it is encoded, too.
    if value.isascii() and "=?" not in value:
        return _fold(f"{name}: {value}", field)
    return f"{name}: {Header(value, 'utf-8', header_name=name).encode(linesep=CRLF)}"


def _phrase(name: str, field: str, value: str) -> str:
    """A display name, in quotes or encoded where it must be, with what separates it from the `<` that follows."""
    value = _checked(field, value).strip()
    if not value:
        return ""
    if not value.isascii() or "=?" in value:
        return Header(value, "utf-8", header_name=name).encode(linesep=CRLF) + CRLF + " "
    return (value if ATOMS.fullmatch(value) else '"{}"'.format(re.sub(r'(["\\])', r"\\\1", value))) + " "


def _mailbox(name: str, field: str, person: str, address: str) -> str:
    phrase = _phrase(name, f"{field} name", person)
    bare = wire_address(address, field)
    return _fold(f"{name}: {phrase}<{bare}>" if phrase else f"{name}: {bare}", field)


def _list_id(value: str) -> str:
    name, identifier = split_address(_checked("list_id", value))
    identifier = _ascii_domain(identifier)
    if not re.fullmatch(r"[\w.-]+", identifier, re.ASCII):
        raise PermanentError(f'list_id "{value}" must look like Name <name.domain> (RFC 2919)')
    return _fold(f"List-Id: {_phrase('List-Id', 'list_id', name)}<{identifier}>", "list_id")


def _extra(name: str, value: str) -> str:
    if not re.fullmatch(r"[!-9;-~]+", name):
        raise PermanentError(f"header name {name!r} must be ASCII without spaces or a colon")
    if name.lower() in OURS:
        raise PermanentError(f'header "{name}" is written by the pipeline itself: leave it out')
    return _header(name, f"header {name}", value)


def _fold(line: str, field: str) -> str:
    """`line` broken at spaces where it is too long: never inside a word, as a long URL must stay whole."""
    if len(line) <= LONGEST_LINE or CRLF in line:
        return line
    lines = [""]
    for word in line.split(" "):
        if len(lines[-1]) + 1 + len(word) > LONGEST_LINE:
            lines.append("")
        lines[-1] += f" {word}"
    if any(len(part) > LONGEST_LINE for part in lines):
        raise PermanentError(f"{field} is longer than the {LONGEST_LINE} characters that a mail line may have")
    return CRLF.join(lines)[1:]


def _body(text: str, html: str, attachments: Sequence[Attachment | EncodedAttachment], token: str) -> bytes:
    """Everything from Content-Type on. `=_` occurs in neither encoding, so no boundary can occur in a part."""
    parts = [_text(kind, content) for kind, content in (("plain", text), ("html", html)) if content]
    readable = _multipart("alternative", token, parts) if len(parts) > 1 else (parts or [_text("plain", "")])[0]
    files = [file.part if isinstance(file, EncodedAttachment) else encode(file).part for file in attachments]
    return _multipart("mixed", token, [readable, *files]) if files else readable


def _multipart(subtype: str, token: str, parts: Sequence[bytes]) -> bytes:
    boundary = f"=_{subtype}_{token}"
    head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n'.encode()
    delimiter = f"\r\n--{boundary}".encode()
    return delimiter.join([head, *(b"\r\n" + part for part in parts), b"--\r\n"])


def _text(subtype: str, content: str) -> bytes:
    try:
        raw = content.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode()
    except UnicodeEncodeError:
        raise PermanentError(f"the {subtype} text holds half a character (a lone surrogate): take it out") from None
    # Ends with CRLF: b2a_qp breaks long lines the way it sees the first line end.
    data, encoding = binascii.b2a_qp(raw + (b"" if raw.endswith(b"\r\n") else b"\r\n")), "quoted-printable"
    if len(data) > 1.4 * len(raw) + 100:
        data, encoding = _base64(raw), "base64"
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    return head.encode() + data


def _base64(data: bytes) -> bytes:
    encoded = binascii.b2a_base64(data, newline=False)
    return b"\r\n".join([encoded[start : start + 76] for start in range(0, len(encoded), 76)])
