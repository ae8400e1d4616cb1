"""The body of a message: its texts, the images inside, the files attached; each a finished MIME part."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pipeline.adapters.messages.headers import checked, encoded, fold, quoted
from pipeline.errors import PermanentError

MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w\"-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to attach: its name as the reader sees it, its media type such as application/pdf, its bytes.

    With `content_id` it is no attachment but an image in the HTML, which names it `cid:<content_id>`.
    """

    name: str
    media_type: str
    data: bytes
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class EncodedAttachment:
    """An attachment made ready once, for all messages that carry it: a finished MIME part."""

    part: bytes


def encode(attachment: Attachment) -> EncodedAttachment:
    """Encode an attachment once; worth it when several messages carry it. Raises PermanentError naming the field."""
    if not MEDIA_TYPE.fullmatch(attachment.media_type):
        raise PermanentError(f'attachment "{attachment.name}": "{attachment.media_type}" is no media type')
    name = checked("attachment name", attachment.name).strip()
    disposition = "inline" if attachment.content_id else "attachment"
    if name.isascii() and "=?" not in name:
        media_type, file_name = attachment.media_type, f"filename={quoted(name)}"
    else:
        # RFC 2231: attribute characters stay, all else is percent-encoded UTF-8. Programs that do not know it look for
        # a name beside the type, in encoded words (which no standard allows inside quotes, and all of them write).
        file_name = "filename*=utf-8''" + quote(name, safe="!#$&+-.^_`|~")
        media_type = f'{attachment.media_type};\r\n name="{encoded(name, 7)}"'
    lines = [
        f"Content-Type: {media_type}",
        "Content-Transfer-Encoding: base64",
        fold(f"Content-Disposition: {disposition}; {file_name}", "attachment name"),
        *([f"Content-ID: <{checked('content_id', attachment.content_id)}>"] if attachment.content_id else []),
    ]
    return EncodedAttachment("\r\n".join([*lines, "", ""]).encode() + _base64(attachment.data))


def body(
    text: str,
    html: str,
    images: Sequence[Attachment | EncodedAttachment],
    attachments: Sequence[Attachment | EncodedAttachment],
    token: str,
) -> bytes:
    """Everything from Content-Type on. `=_` occurs in neither encoding, so no boundary can occur in a part."""
    parts = [_text("plain", text)] if text or not html else []
    if html:
        readable = _text("html", html)
        parts.append(_multipart("related", token, [readable, *_encoded(images)]) if images else readable)
    said = _multipart("alternative", token, parts) if len(parts) > 1 else parts[0]
    return _multipart("mixed", token, [said, *_encoded(attachments)]) if attachments else said


def _encoded(files: Sequence[Attachment | EncodedAttachment]) -> list[bytes]:
    return [file.part if isinstance(file, EncodedAttachment) else encode(file).part for file in files]


def _multipart(subtype: str, token: str, parts: Sequence[bytes]) -> bytes:
    boundary = f"=_{subtype}_{token}"
    # RFC 2387: a related part says what its root is.
    kind = ' type="text/html";' if subtype == "related" else ""
    head = f'Content-Type: multipart/{subtype};{kind} boundary="{boundary}"\r\n'.encode()
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
