"""Images of a message: taken from the template's folder into the message, which shows them without asking the web."""

from __future__ import annotations

import hashlib
import html
import re
from mimetypes import guess_extension
from pathlib import PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

from pipeline.adapters.documents import resources
from pipeline.adapters.documents.templates import Templates
from pipeline.adapters.messages import Attachment, EncodedAttachment, encode
from pipeline.errors import DefinitionError

IMAGE = re.compile(r"""(<img\b[^>]*?\ssrc\s*=\s*)(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
# What mail programs show. SVG is not among them, and the web is asked by those only that are told to.
_SHOWN = {"image/png", "image/jpeg", "image/gif", "image/webp"}


def placed(text: str, templates: Templates) -> tuple[str, tuple[EncodedAttachment, ...]]:
    """The HTML with its images' addresses replaced by content ids, and the images; each once.

    Its tags are in lower case, as css-inline writes them. A file of the bundle or a `data:` address becomes a part of
    the message; an address on the web stays what it is. Raises DefinitionError, naming the image and the way out, for
    one that is missing or that mail programs do not show.
    """
    if "<img" not in text:
        return text, ()
    found: dict[str, EncodedAttachment] = {}

    def name(match: re.Match[str]) -> str:
        address = address_of(match)
        if is_elsewhere(address):
            return match[0]
        content_id, part = taken(address, templates)
        found[content_id] = part
        return f'{match[1]}"cid:{content_id}"'

    return IMAGE.sub(name, text), tuple(found.values())


def address_of(match: re.Match[str]) -> str:
    return html.unescape(match[2] if match[2] is not None else match[3]).strip()


def is_elsewhere(address: str) -> bool:
    return urlsplit(address).scheme in {"http", "https", "cid"}


def taken(address: str, templates: Templates) -> tuple[str, EncodedAttachment]:
    """The image's content id and part. Raises as `placed`."""
    known = templates.images.get(address)
    if known:
        return known
    place = templates.place("body.html")
    try:
        data, media_type = resources.read(templates, urljoin(resources.ROOT, address))
    except LookupError as error:
        raise DefinitionError(f"an image cannot be shown: {error}", place=place) from None
    if media_type not in _SHOWN:
        shown = "data:…" if address.startswith("data:") else address
        reason = f'"{shown}" is {media_type}, which mail programs do not show: use PNG, JPEG or GIF'
        raise DefinitionError(reason, place=place)
    content_id = f"{hashlib.sha256(data).hexdigest()[:24]}@pipeline"
    made = content_id, encode(Attachment(_name(address, media_type), media_type, data, content_id))
    if not address.startswith("data:"):  # those of a document are its own
        templates.images[address] = made
    return made


def _name(address: str, media_type: str) -> str:
    if address.startswith("data:"):
        return f"image{guess_extension(media_type) or ''}"
    return PurePosixPath(unquote(urlsplit(address).path)).name
