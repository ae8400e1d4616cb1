"""What a setting must be: each check returns the value to use, or raises ValueError with what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import ValidationInfo

from pipeline import locales, notice
from pipeline import pools as named_pools
from pipeline.mistakes import did_you_mean
from pipeline.rates import parse as parse_rates

MAKE_SECRET = "`openssl rand -hex 32` makes one"  # noqa: S105 - a way to make one


def home_is_a_folder(value: Path) -> Path:
    value = value.expanduser().absolute()
    if not value.is_dir():
        raise ValueError("is not a folder; name an existing home or make one with `pipeline init DIR`")
    return value


def store_is_known(value: str) -> str:
    scheme, found, _ = value.partition("://")
    if found and scheme != "file":
        from fsspec.registry import known_implementations

        if scheme not in known_implementations:
            hint = did_you_mean(scheme, known_implementations, "write s3://, gs://, abfs://, sftp:// …")
            raise ValueError(f"must be a directory or a URL that fsspec knows: {hint}")
    return value


def locale_is_known(value: str) -> str:
    if value != "en" and (problem := locales.problem(value)):
        raise ValueError(problem)
    return value


def database_is_known(value: str) -> str:
    value = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", value)
    if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must start with sqlite:/// or postgresql://")
    return value


def broker_is_known(value: str) -> str:
    if value and urlsplit(value).scheme not in {"redis", "rediss", "redis+socket", "amqp", "amqps"}:
        raise ValueError("must start with redis://, rediss://, redis+socket://, amqp:// or amqps://")
    return value


def results_are_redis(value: str, info: ValidationInfo) -> str:
    if not value and info.data.get("broker_url", "").startswith("amqp"):
        raise ValueError("must name a redis:// server: RabbitMQ keeps no results, and chords need them")
    if value and urlsplit(value).scheme not in {"redis", "rediss", "redis+socket"}:
        raise ValueError("must start with redis://, rediss:// or redis+socket:// (chords need it)")
    return value


def relay_is_smtp(value: str, info: ValidationInfo) -> str:
    urls = listed(value)
    if not all(_is_smtp(url) for url in urls):
        raise ValueError("must look like smtp://user:password@host:port, smtps://host or smtp://host?starttls=required")
    if info.field_name == "catcher_url" and len(urls) > 1:
        raise ValueError("must be one URL")
    return ",".join(urls)


def rates_are_rates(value: str) -> str:
    parse_rates(value)
    return value


def pools_have_places(value: str) -> str:
    named_pools.parse(value)
    return value


def mail_mode_is_known(value: str, info: ValidationInfo) -> str:
    if value not in {"catch", "live"} and not re.fullmatch(r"redirect:[^@\s]+@[^@\s]+", value):
        raise ValueError("must be catch, live or redirect:ADDRESS")
    if value != "catch" and info.data.get("smtp_url") == "":
        raise ValueError("needs a relay: set PIPELINE_SMTP_URL=smtp://user:password@host:port, or PIPELINE_MAIL=catch")
    return value


def sender_has_an_address(value: str) -> str:
    if not re.fullmatch(r"[^\r\n]*<[^<>@\s]+@[^<>@\s]+>|[^<>@\s]+@[^<>@\s]+", value):
        raise ValueError("must be an address, such as reports@example.com or Reports <reports@example.com>")
    return value


def can_be_told(value: list[str]) -> list[str]:
    for written in value:
        notice.target(written)
    return value


def key_is_there(value: str, info: ValidationInfo) -> str:
    if not value or "-----BEGIN" in value:
        return value
    path = info.data.get("home", Path()) / Path(value).expanduser()
    if not path.is_file():
        raise ValueError("is neither a file nor the text of a key; `openssl genrsa -out dkim.pem 2048` makes one")
    return str(path)


def selector_is_named(value: str, info: ValidationInfo) -> str:
    if info.data.get("dkim_key") and not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", value):
        raise ValueError("must be the name under which the DNS has PIPELINE_DKIM_KEY's public half, such as s2026")
    return value


def domain_is_one(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", value):
        raise ValueError("must be a domain in ASCII, such as example.com")
    return value.lower()


def public_url_is_a_root(value: str) -> str:
    value = value.rstrip("/")
    if value and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[!-;=?-~]*)?", value):
        raise ValueError("must look like https://reports.example.com")
    return value


def flower_has_a_password(value: str) -> str:
    if value and not re.fullmatch(r"[^:,\s]+:[^,\s]{8,}", value):
        raise ValueError("must be user:password, the password of 8 characters or more, without commas")
    return value


def it_is_http(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/]+\S*", value):
        raise ValueError("must start with http:// or https://")
    return value


def secrets_are_long(value: str, info: ValidationInfo) -> str:
    if value and any(len(part.strip()) < 32 for part in value.split(",")):
        raise ValueError(f"must have 32 characters or more; {MAKE_SECRET}")
    if info.data.get("public_url") and info.data.get("broker_url") and not value:
        raise ValueError(f"must be set, the same on every machine, as PIPELINE_PUBLIC_URL is; {MAKE_SECRET}")
    return value


def digest_has_a_time(value: str) -> str:
    if value.strip():
        notice.digest_plan(value)
    return value.strip()


def zone_exists(value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (KeyError, ValueError, OSError):
        raise ValueError("is not an IANA time zone such as Europe/Berlin") from None


def listed(urls: str) -> list[str]:
    return [url for url in re.split(r"[,\s]+", urls) if url]


def _is_smtp(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"smtp", "smtps"} and bool(parts.hostname) and _port_can_be(parts)


def _port_can_be(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:  # no number, or above 65535
        return False
