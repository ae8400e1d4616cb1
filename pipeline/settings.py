"""Every setting, typed and checked, from the environment and the home's `.env` (prefix `PIPELINE_`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline import locales, notice
from pipeline import pools as named_pools
from pipeline.errors import DefinitionError
from pipeline.mistakes import did_you_mean, nearest
from pipeline.rates import Rate
from pipeline.rates import parse as parse_rates

PREFIX = "PIPELINE_"
# A Unix socket's address has room for 107 characters (sockaddr_un, unix(7)).
SOCKET_PATH_LIMIT = 107
# Settings whose values no error repeats.
SECRET = {"dkim_key", "flower_auth", "secret_key"}
MAKE_SECRET = "`openssl rand -hex 32` makes one"  # noqa: S105 - a way to make one

Words = Annotated[
    list[str],
    NoDecode,
    BeforeValidator(lambda value: [w for w in re.split(r"[,\s]+", value) if w] if isinstance(value, str) else value),
]


class Settings(BaseSettings):
    """What the environment says; a wrong value is refused by `settings()` with its name and what is allowed."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", env_ignore_empty=True)

    # The one active home: its schedules/, templates/, reports/, workflows/ and var/. Default: the working directory.
    home: Path = Field(default_factory=Path.cwd)
    # Where run state lives. Default: SQLite in WAL mode under the home's var/.
    database_url: str = ""
    # Redis, Valkey or RabbitMQ. Default: the bundled server's private socket under the home's var/.
    broker_url: str = ""
    # Where Celery keeps results and chord counters: a Redis or Valkey. Default: the broker.
    result_url: str = ""
    # classic, or quorum for a cluster of RabbitMQ: those outlive a node, and know no priorities.
    rabbitmq_queues: str = Field("classic", pattern="^(classic|quorum)$")
    # Where artifacts are stored: any fsspec URL or a directory. Default: var/artifacts.
    storage_url: str = ""
    # Whether beat loads changed schedule files by itself. Default: with the bundled broker only, since two beats with
    # different files would rewrite each other's revisions; elsewhere `pipeline sync` is a step of the deployment.
    watch_schedules: bool | None = None
    # The relay that mail is handed to when PIPELINE_MAIL is live or redirect; several by commas, the best one first.
    smtp_url: str = ""
    # How fast mail may go out, over all workers: by relay (20/s, 1000/h) and by recipient domain (gmail.com 5/s).
    rate: str = ""
    # The mail catcher that gets every message while PIPELINE_MAIL is catch.
    catcher_url: str = "smtp://127.0.0.1:2525"
    # catch: nothing leaves, every message is kept as a file; redirect:ADDRESS: all to one address; live: for real.
    mail: str = "catch"
    # The address that messages come from unless a schedule says otherwise.
    mail_from: str = "Reports <reports@localhost>"
    # Seconds without an answer after which a relay is dead; after the final dot ten minutes (RFC 5321 4.5.3.2.6).
    smtp_timeout: float = Field(60.0, gt=0)
    # The private RSA key (PEM) that messages are signed with (DKIM): a file, relative to the home, or the text itself.
    dkim_key: str = ""
    # The name under which the DNS has the public key: a TXT record at <selector>._domainkey.<domain>.
    dkim_selector: str = ""
    # The domain that signs. Default: that of PIPELINE_MAIL_FROM.
    dkim_domain: str = ""
    # Where readers reach `pipeline web`, such as https://reports.example.com: links in messages begin with it.
    public_url: str = ""
    # What links in messages are signed with; after a change several, separated by commas: the first signs, all count.
    # Default: made on first use, in var/secret.key; several machines need the same one.
    secret_key: str = ""
    # Seconds for which a relay that is down is left alone; twice as long each time, up to 15 minutes.
    relay_retry: float = Field(30.0, ge=1, le=900)
    # The zone of schedules that name none, an IANA name.
    timezone: str = "UTC"
    # The locale of dates and numbers where neither the report nor the recipient names one.
    locale: str = "en"
    # Who hears of failures where a schedule names nobody: addresses and webhooks, separated by commas.
    notify: Words = Field(default_factory=list)
    # Where `pipeline web` and `pipeline up` serve the API; what is not loopback belongs behind a proxy that speaks TLS.
    web_host: str = "127.0.0.1"
    web_port: int = Field(8000, ge=1, le=65535)
    # Addresses of the proxies in front of it, separated by commas: what they say of a caller's address is believed.
    web_proxies: Words = Field(default_factory=list)
    # Where `pipeline up` and `pipeline flower` serve Flower, Celery's own view, on this machine; 0: `up` does not.
    flower_port: int = Field(5555, ge=0, le=65535)
    # Who is let into Flower, as user:password. Default: pipeline, with a password made on first use, in var/.
    flower_auth: str = ""
    # Where people reach Flower, for the console's link to it. Default: where `pipeline up` serves it.
    flower_url: str = ""
    # A morning digest of the last day: a time of PIPELINE_TIMEZONE and who gets it, "07:00 ops@example.com".
    digest: str = ""
    # The port on which beat answers /metrics and /healthz. Default: none.
    metrics_port: int | None = Field(None, ge=1, le=65535)
    # The address on which it does; 0.0.0.0 is all.
    metrics_host: str = "127.0.0.1"
    # What a beat that is well calls every minute, so that a monitor outside notices a dead machine; {host} is its name.
    heartbeat_url: str = ""
    # Worker processes of the embedded tree. Default: one per core.
    concurrency: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    # How many steps may be at work at once, over all workers: warehouse=2, pdf=8; a database's name limits its queries.
    pools: str = ""
    # Seconds a claim stays valid without being renewed (scheduling.md: leases); it is renewed every third of it.
    lease: float = Field(30.0, ge=2)
    # Seconds in which a worker that is asked to stop does: less than it is given before it is killed (Kubernetes: 30).
    stop_within: float = Field(20.0, ge=1, le=3600)
    # Seconds after which a queued step whose message was not taken is published again; doubles each time.
    republish_after: float = Field(60.0, ge=1)
    # Seconds a source may take for one statement or request.
    source_timeout: float = Field(600.0, gt=0)
    # Bytes that one HTTP source may send.
    source_max_bytes: int = Field(2_000_000_000, gt=0)
    # Rows that one document may show; more is refused with a sentence (a PDF above 2,000 rows: use XLSX).
    document_max_rows: int = Field(100_000, gt=0)
    # Seconds that one document may take; above, it fails alone.
    document_timeout: float = Field(300.0, gt=0, le=3000)
    # Days after which finished runs and their artifacts are purged by the retention workflow.
    keep_days: int = Field(400, ge=1)
    # Megabytes that must stay free on the artifact disk; below it `pipeline doctor` warns.
    min_free_mb: int = Field(500, ge=0)
    # console or json.
    log_format: str = Field("console", pattern="^(console|json)$")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator("home")
    @classmethod
    def _home_is_a_folder(cls, value: Path) -> Path:
        value = value.expanduser().absolute()
        if not value.is_dir():
            raise ValueError("is not a folder; name an existing home or make one with `pipeline init DIR`")
        return value

    @field_validator("storage_url")
    @classmethod
    def _store_is_known(cls, value: str) -> str:
        scheme, found, _ = value.partition("://")
        if found and scheme != "file":
            from fsspec.registry import known_implementations

            if scheme not in known_implementations:
                hint = did_you_mean(scheme, known_implementations, "write s3://, gs://, abfs://, sftp:// …")
                raise ValueError(f"must be a directory or a URL that fsspec knows: {hint}")
        return value

    @field_validator("locale")
    @classmethod
    def _locale_is_known(cls, value: str) -> str:
        if value != "en" and (problem := locales.problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, value: str) -> str:
        value = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", value)
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("must start with sqlite:/// or postgresql://")
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker_is_known(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in {"redis", "rediss", "redis+socket", "amqp", "amqps"}:
            raise ValueError("must start with redis://, rediss://, redis+socket://, amqp:// or amqps://")
        return value

    @field_validator("result_url")
    @classmethod
    def _results_are_redis(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("broker_url", "").startswith("amqp"):
            raise ValueError("must name a redis:// server: RabbitMQ keeps no results, and chords need them")
        if value and urlsplit(value).scheme not in {"redis", "rediss", "redis+socket"}:
            raise ValueError("must start with redis://, rediss:// or redis+socket:// (chords need it)")
        return value

    @field_validator("smtp_url", "catcher_url")
    @classmethod
    def _relay_is_smtp(cls, value: str, info: ValidationInfo) -> str:
        urls = _listed(value)
        if not all(_is_smtp(url) for url in urls):
            raise ValueError(
                "must look like smtp://user:password@host:port, smtps://host or smtp://host?starttls=required"
            )
        if info.field_name == "catcher_url" and len(urls) > 1:
            raise ValueError("must be one URL")
        return ",".join(urls)

    @field_validator("rate")
    @classmethod
    def _rates_are_rates(cls, value: str) -> str:
        parse_rates(value)
        return value

    @field_validator("pools")
    @classmethod
    def _pools_have_places(cls, value: str) -> str:
        named_pools.parse(value)
        return value

    @field_validator("mail")
    @classmethod
    def _mail_mode_is_known(cls, value: str, info: ValidationInfo) -> str:
        if value not in {"catch", "live"} and not re.fullmatch(r"redirect:[^@\s]+@[^@\s]+", value):
            raise ValueError("must be catch, live or redirect:ADDRESS")
        if value != "catch" and info.data.get("smtp_url") == "":
            raise ValueError(
                "needs a relay: set PIPELINE_SMTP_URL=smtp://user:password@host:port, or PIPELINE_MAIL=catch"
            )
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender_has_an_address(cls, value: str) -> str:
        if not re.fullmatch(r"[^\r\n]*<[^<>@\s]+@[^<>@\s]+>|[^<>@\s]+@[^<>@\s]+", value):
            raise ValueError("must be an address, such as reports@example.com or Reports <reports@example.com>")
        return value

    @field_validator("notify")
    @classmethod
    def _can_be_told(cls, value: list[str]) -> list[str]:
        for written in value:
            notice.target(written)
        return value

    @field_validator("dkim_key")
    @classmethod
    def _key_is_there(cls, value: str, info: ValidationInfo) -> str:
        if not value or "-----BEGIN" in value:
            return value
        path = info.data.get("home", Path()) / Path(value).expanduser()
        if not path.is_file():
            raise ValueError("is neither a file nor the text of a key; `openssl genrsa -out dkim.pem 2048` makes one")
        return str(path)

    @field_validator("dkim_selector")
    @classmethod
    def _selector_is_named(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("dkim_key") and not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", value):
            raise ValueError("must be the name under which the DNS has PIPELINE_DKIM_KEY's public half, such as s2026")
        return value

    @field_validator("dkim_domain")
    @classmethod
    def _domain_is_one(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", value):
            raise ValueError("must be a domain in ASCII, such as example.com")
        return value.lower()

    @field_validator("public_url")
    @classmethod
    def _public_url_is_a_root(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[!-;=?-~]*)?", value):
            raise ValueError("must look like https://reports.example.com")
        return value

    @field_validator("flower_auth")
    @classmethod
    def _flower_has_a_password(cls, value: str) -> str:
        if value and not re.fullmatch(r"[^:,\s]+:[^,\s]{8,}", value):
            raise ValueError("must be user:password, the password of 8 characters or more, without commas")
        return value

    @field_validator("flower_url", "heartbeat_url")
    @classmethod
    def _it_is_http(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/]+\S*", value):
            raise ValueError("must start with http:// or https://")
        return value

    @field_validator("secret_key")
    @classmethod
    def _secrets_are_long(cls, value: str, info: ValidationInfo) -> str:
        if value and any(len(part.strip()) < 32 for part in value.split(",")):
            raise ValueError(f"must have 32 characters or more; {MAKE_SECRET}")
        if info.data.get("public_url") and info.data.get("broker_url") and not value:
            raise ValueError(f"must be set, the same on every machine, as PIPELINE_PUBLIC_URL is; {MAKE_SECRET}")
        return value

    @field_validator("digest")
    @classmethod
    def _digest_has_a_time(cls, value: str) -> str:
        if value.strip():
            notice.digest_plan(value)
        return value.strip()

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (KeyError, ValueError, OSError):
            raise ValueError("is not an IANA time zone such as Europe/Berlin") from None

    def model_post_init(self, context: Any) -> None:  # noqa: ARG002 - the base's
        if not self.database_url:
            self.database_url = f"sqlite:///{self.var / 'pipeline.db'}"
        self._embedded_broker = not self.broker_url
        if not self.broker_url:
            self.broker_url = f"redis+socket://{self.broker_socket}"
        self.result_url = self.result_url or self.broker_url
        if not self.storage_url:
            self.storage_url = str(self.var / "artifacts")

    _embedded_broker: bool = PrivateAttr(default=False)

    @property
    def dkim_signs_for(self) -> str:
        """The domain that signs messages."""
        return self.dkim_domain or self.mail_from.rstrip(">").rpartition("@")[2].lower()

    @property
    def embedded_broker(self) -> bool:
        """Whether the broker is the bundled one, which `pipeline up` starts."""
        return self._embedded_broker

    @property
    def smtp_urls(self) -> list[str]:
        """The relays, in order of preference."""
        return _listed(self.smtp_url)

    @property
    def rates(self) -> tuple[Rate, ...]:
        return parse_rates(self.rate)

    @cached_property
    def places(self) -> dict[str, int]:
        """How many places each pool has, by its name in lower case."""
        return named_pools.parse(self.pools)

    @property
    def watches_schedules(self) -> bool:
        return self.embedded_broker if self.watch_schedules is None else self.watch_schedules

    @property
    def var(self) -> Path:
        """Where the embedded default keeps its state; made on first use by whoever writes there."""
        return self.home / "var"

    @property
    def broker_socket(self) -> Path:
        """The bundled server's socket: in var/ where the name fits, else in the temporary folder, by a hash of var/."""
        socket = self.var / "broker.sock"
        if len(str(socket).encode()) <= SOCKET_PATH_LIMIT:
            return socket
        import hashlib
        import tempfile

        digest = hashlib.sha256(str(socket).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"pipeline-{os.getuid()}-{digest}.sock"

    def source_url(self, name: str) -> str:
        """The URL of the database that reports call `name`, from PIPELINE_SOURCE_<NAME>_URL.

        Raises DefinitionError naming the variable to set and the ones that are set.
        """
        urls = source_urls()
        found = urls.get(name.lower())
        if found:
            return found
        known = ", ".join(sorted(urls)) or "none"
        variable = f"{PREFIX}SOURCE_{name.upper()}_URL"
        near = nearest(name, urls)
        way = f"did you mean {near}? Or set {variable}" if near else f"set {variable}"
        raise DefinitionError(f'database "{name}" is not known: {way} (known databases: {known})')

    def hook(self, name: str) -> notice.Target:
        """The webhook that `notify` calls `hook:<name>`, from PIPELINE_HOOK_<NAME>_URL. Raises DefinitionError."""
        variable = f"{PREFIX}HOOK_{name.upper()}_URL"
        url = environment().get(variable)
        if not url:
            known = re.findall(rf"\b{PREFIX}HOOK_(\w+)_URL\b", " ".join(environment()))
            near = nearest(name, [one.lower() for one in known])
            way = f"did you mean hook:{near}? Or set {variable}" if near else f"set {variable}"
            raise DefinitionError(f'webhook "{name}" is not known: {way}')
        try:
            found = notice.target(url)
        except ValueError as error:
            raise DefinitionError(str(error), place=variable) from None
        return notice.Target(found.where, found.shape, name)


def _listed(urls: str) -> list[str]:
    return [url for url in re.split(r"[,\s]+", urls) if url]


def _is_smtp(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"smtp", "smtps"} and bool(parts.hostname) and _port_can_be(parts)


def _port_can_be(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:  # no number, or above 65535
        return False


def source_urls() -> dict[str, str]:
    """Every PIPELINE_SOURCE_<NAME>_URL of the environment, by lower-case name; in a clone also the example's."""
    pattern = re.compile(rf"{PREFIX}SOURCE_(\w+)_URL")
    found = {m[1].lower(): v for k, v in environment().items() if (m := pattern.fullmatch(k)) and v}
    return _example_urls() | found


def _example_urls() -> dict[str, str]:
    """The database `flights` of a home that has the example's data: `example.source_url` builds it on first use."""
    home = _home().absolute()
    known = (home / "examples" / "nycflights13").is_dir()
    return {"flights": f"sqlite:///{home / 'var' / 'example' / 'flights.db'}"} if known else {}


def environment() -> dict[str, str]:
    """The process's environment over the `.env` of the home (a variable that is set wins over the file)."""
    return {**_dotenv(_home() / ".env"), **os.environ}


def _home() -> Path:
    return Path(os.environ.get(f"{PREFIX}HOME") or Path.cwd()).expanduser()


def _dotenv(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    return {k: v for k, v in dotenv_values(path).items() if v is not None} if path.is_file() else {}


def masked(url: str) -> str:
    """`url` with its password (also where a scheme is missing) and its secret-looking query values replaced by ***."""
    url = re.sub(r"((?:^|//)[^:/@\s]*):(?!//).*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]+", r"\1***", url)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once; `settings.cache_clear()` reads them again (tests).

    Raises DefinitionError with one line per wrong setting: its name, its value (secrets masked), what is allowed.
    """
    values = {k.removeprefix(PREFIX).lower(): v for k, v in environment().items() if k.startswith(PREFIX)}
    problems = [*_misspelt(values), *_wrong_sources()]
    try:
        found = Settings(_env_file=_home() / ".env")
    except ValidationError as error:
        problems += [_sentence(problem, values) for problem in error.errors()]
    if problems:
        raise DefinitionError("\n".join(problems))
    return found


def _misspelt(values: dict[str, str]) -> Iterator[str]:
    """A sentence for every name that is nearly a setting's: a team's own PIPELINE_ variables are left alone."""
    for name in sorted(values.keys() - Settings.model_fields.keys()):
        near = nearest(name, Settings.model_fields, alike=0.8)
        if near and not re.fullmatch(r"(source|hook)_\w+_url|param_\w+", name):
            yield f"{PREFIX}{name.upper()} is not a setting: did you mean {PREFIX}{near.upper()}?"


def _wrong_sources() -> Iterator[str]:
    """A sentence for every database of a report whose URL is none."""
    for name, url in source_urls().items():
        if not re.match(r"[a-z][a-z0-9_]*(\+[a-z0-9_]+)?://", url):
            variable = f"{PREFIX}SOURCE_{name.upper()}_URL"
            yield f'{variable}="{masked(url)}": must look like postgresql://user:password@host/database or sqlite:///data.db'


def _sentence(problem: Any, values: dict[str, str]) -> str:
    name = str(problem["loc"][0])
    reason = problem["msg"].removeprefix("Value error, ")
    said = values.get(name, "")
    shown = "***" if said and name in SECRET else masked(said) if name.endswith("url") else said
    if name in {"notify", "digest"}:  # who knows a webhook's path may write to it
        shown = re.sub(r"(https?://[^/\s,]+/)[^\s,]+", r"\1***", shown)
    return f'{PREFIX}{name.upper()}="{shown}": {reason[0].lower()}{reason[1:]}'
