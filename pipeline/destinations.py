"""Where documents go beside e-mail (`deliver_to`): folders that get a copy, and webhooks that are posted them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from pipeline.mistakes import did_you_mean, nearest
from pipeline.policies import Size, Uncertain
from pipeline.report import Model, OneOrMany

# What may stand in braces: in a folder's URL, and in a webhook's.
OF_FOLDER = ("schedule", "report", "period", "key", "format")
OF_WEBHOOK = ("schedule", "report", "period", "key")
# Headers that a request has anyway.
OURS = frozenset(
    {
        "content-type", "content-length", "transfer-encoding", "host", "connection", "user-agent", "idempotency-key",
        "x-webhook-timestamp", "x-webhook-signature",
    }
)  # fmt: skip
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
NAMED_HOOK = re.compile(r"hook:([a-z][a-z0-9_]*)")
_SECRET_NAME = re.compile(r"auth|cookie|token|key|secret|password|signature", re.IGNORECASE)
_SECRET_QUERY = re.compile(r"[?&][^=&]*(?:password|secret|token|key|sig)[^=&]*=(?!\{)", re.IGNORECASE)


class Folder(Model):
    """A folder that gets a copy of each document; a plain string is short for its URL."""

    folder: str = Field(
        description="A path or fsspec URL with {schedule} {report} {period} {key} {format}; what ends with / gets "
        "{key}.{format}. A password is written as $NAME, and taken from the environment."
    )
    overwrite: bool = Field(
        default=False, description="Whether a file that is there with other content is replaced; else that copy fails."
    )

    @property
    def address(self) -> str:
        """What its deliveries are called."""
        return self.folder

    @property
    def is_elsewhere(self) -> bool:
        """Whether what is written there may leave this machine."""
        return "://" in self.folder and not self.folder.startswith("file://")

    @field_validator("folder")
    @classmethod
    def _can_be_filled_in(cls, value: str) -> str:
        if re.match(r"https?://", value):
            raise ValueError(f'"{value}" is not a folder: a webhook is written {{webhook: {value}}}')
        if (password := urlsplit(value).password) and not VARIABLE.fullmatch(password):
            raise ValueError("holds a password: write $NAME in its place, and set NAME in the environment")
        fill(value, dict.fromkeys(OF_FOLDER, "x"))
        return value


class Webhook(Model):
    """An HTTP address to which each document is posted, as JSON with its files in it."""

    webhook: str = Field(
        description="https://host/path with {schedule} {report} {period} {key}, or hook:NAME, whose URL is "
        "PIPELINE_HOOK_<NAME>_URL."
    )
    secret: str | None = Field(
        None,
        description='"$NAME": the environment\'s value signs each request (HMAC-SHA256); during a change two, with '
        "a comma between them.",
    )
    headers: dict[str, str] = Field({}, description='HTTP headers; "$NAME" takes a value from the environment.')
    attach: Annotated[list[Literal["pdf", "xlsx", "csv", "html"]], OneOrMany] | None = Field(
        None, description="Which formats are posted. Default: all of the report's; [] is none."
    )
    link_above: Size = Field(
        20_000_000,
        description="Files that are larger together, such as 5MB, are links (they need PIPELINE_PUBLIC_URL).",
    )
    on_uncertain: Uncertain = Field(
        Uncertain.RESEND,
        description="A request whose answer was lost: resend it under the same Idempotency-Key, hold it for a person, "
        "or assume_sent.",
    )

    @property
    def address(self) -> str:
        """What its deliveries are called."""
        return self.webhook

    @field_validator("webhook")
    @classmethod
    def _can_be_posted_to(cls, value: str) -> str:
        if NAMED_HOOK.fullmatch(value):
            return value
        try:
            parts = urlsplit(value)
            known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # a port above 65535
            known = False
        if not known or re.search(r"\s", value):
            raise ValueError(f'"{value}" is not a webhook: write https://host/path or hook:NAME')
        if parts.username or parts.password or _SECRET_QUERY.search(value) or VARIABLE.search(value):
            raise ValueError("holds a secret: put the URL into PIPELINE_HOOK_<NAME>_URL, and write hook:NAME here")
        fill(value, dict.fromkeys(OF_WEBHOOK, "x"))
        return value

    @field_validator("secret")
    @classmethod
    def _stands_elsewhere(cls, value: str | None) -> str | None:
        if value is not None and not VARIABLE.fullmatch(value):
            raise ValueError('must be the name of a variable of the environment, such as "$SHOP_SECRET"')
        return value

    @field_validator("headers")
    @classmethod
    def _are_for_a_file(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if name.lower() in OURS:
                raise ValueError(f".{name} is set by each request itself: leave it out")
            if _SECRET_NAME.search(name) and not VARIABLE.search(text):
                raise ValueError(f".{name} holds a secret: write $NAME in its place, and set NAME in the environment")
        return value


def _kind(value: Any) -> str:
    if isinstance(value, Folder | Webhook):
        return type(value).__name__
    names = [str(name) for name in value] if isinstance(value, Mapping) else []
    looks_like_a_folder = not names or any(nearest(name, Folder.model_fields) for name in names)
    return "Folder" if looks_like_a_folder and "webhook" not in names else "Webhook"


Destination = Annotated[
    Annotated[Folder, Tag("Folder")] | Annotated[Webhook, Tag("Webhook")],
    Discriminator(_kind),
    BeforeValidator(lambda value: {"folder": value} if isinstance(value, str) else value),
]


def fill(pattern: str, values: Mapping[str, str], safe: Callable[[str], str] = str) -> str:
    """The pattern with the words in braces replaced by `safe` values. Raises ValueError for one that is not known."""
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(f'"{pattern}" cannot be read: {error}') from None
    found = ""
    for text, name, spec, conversion in parts:
        found += text
        if name is None:
            continue
        if name not in values or spec or conversion:
            hint = did_you_mean(name, values, f"there are {', '.join(values)}")
            raise ValueError(f'"{pattern}" knows no {{{name}}}: {hint}')
        found += safe(values[name])
    return found


def variables(webhook: Webhook) -> list[str]:
    """The variables of the environment that the webhook needs."""
    texts = [webhook.secret or "", *webhook.headers.values()]
    return [one or other for text in texts for one, other in VARIABLE.findall(text)]
