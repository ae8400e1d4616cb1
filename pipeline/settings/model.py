"""Every setting, typed, with its default; what a value must be is in `checks`."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline import notice
from pipeline import pools as named_pools
from pipeline.errors import DefinitionError
from pipeline.mistakes import nearest
from pipeline.rates import Rate
from pipeline.rates import parse as parse_rates
from pipeline.settings import checks
from pipeline.settings.checks import listed
from pipeline.settings.environment import PREFIX, environment, source_urls

# A Unix socket's address has room for 107 characters (sockaddr_un, unix(7)).
SOCKET_PATH_LIMIT = 107

Words = Annotated[
    list[str],
    NoDecode,
    BeforeValidator(lambda value: listed(value) if isinstance(value, str) else value),
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
    smtp_timeout: float = Field(60.0, gt=0, le=3600)
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
    # Worker processes of the embedded tree; and for how many, whoever starts them, deliveries are cut. Default: one per
    # core.
    concurrency: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    # How many steps may be at work at once, over all workers: warehouse=2, pdf=8; a database's name limits its queries.
    pools: str = ""
    # Seconds a claim stays valid without being renewed; it is renewed every third of it.
    lease: float = Field(30.0, ge=2, le=3600)
    # Seconds in which a worker that is asked to stop does: less than it is given before it is killed (Kubernetes: 30).
    stop_within: float = Field(20.0, ge=1, le=3600)
    # Seconds after which a queued step whose message was not taken is published again; doubles each time.
    republish_after: float = Field(60.0, ge=1, le=86_400)
    # Seconds a source may take for one statement or request.
    source_timeout: float = Field(600.0, gt=0, le=86_400)
    # Bytes that one HTTP source may send.
    source_max_bytes: int = Field(2_000_000_000, gt=0)
    # Rows that one document may show; more is refused with a sentence (a PDF above 2,000 rows: use XLSX).
    document_max_rows: int = Field(100_000, gt=0)
    # Seconds that one document may take; above, it fails alone.
    document_timeout: float = Field(300.0, gt=0, le=3000)
    # Days after which finished runs and their artifacts are purged by the retention workflow.
    keep_days: int = Field(400, ge=1, le=36_500)
    # Megabytes that must stay free on the artifact disk; below it `pipeline doctor` warns.
    min_free_mb: int = Field(500, ge=0)
    # console or json.
    log_format: str = Field("console", pattern="^(console|json)$")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    _embedded_broker: bool = PrivateAttr(default=False)

    _home_is_a_folder = field_validator("home")(checks.home_is_a_folder)
    _store_is_known = field_validator("storage_url")(checks.store_is_known)
    _locale_is_known = field_validator("locale")(checks.locale_is_known)
    _database_is_known = field_validator("database_url")(checks.database_is_known)
    _broker_is_known = field_validator("broker_url")(checks.broker_is_known)
    _results_are_redis = field_validator("result_url")(checks.results_are_redis)
    _relay_is_smtp = field_validator("smtp_url", "catcher_url")(checks.relay_is_smtp)
    _rates_are_rates = field_validator("rate")(checks.rates_are_rates)
    _pools_have_places = field_validator("pools")(checks.pools_have_places)
    _mail_mode_is_known = field_validator("mail")(checks.mail_mode_is_known)
    _sender_has_an_address = field_validator("mail_from")(checks.sender_has_an_address)
    _can_be_told = field_validator("notify")(checks.can_be_told)
    _key_is_there = field_validator("dkim_key")(checks.key_is_there)
    _selector_is_named = field_validator("dkim_selector")(checks.selector_is_named)
    _domain_is_one = field_validator("dkim_domain")(checks.domain_is_one)
    _public_url_is_a_root = field_validator("public_url")(checks.public_url_is_a_root)
    _flower_has_a_password = field_validator("flower_auth")(checks.flower_has_a_password)
    _it_is_http = field_validator("flower_url", "heartbeat_url")(checks.it_is_http)
    _secrets_are_long = field_validator("secret_key")(checks.secrets_are_long)
    _digest_has_a_time = field_validator("digest")(checks.digest_has_a_time)
    _zone_exists = field_validator("timezone")(checks.zone_exists)

    def model_post_init(self, context: Any) -> None:  # noqa: ARG002 - the base's
        if not self.database_url:
            self.database_url = f"sqlite:///{self.var / 'pipeline.db'}"
        self._embedded_broker = not self.broker_url
        if not self.broker_url:
            self.broker_url = f"redis+socket://{self.broker_socket}"
        self.result_url = self.result_url or self.broker_url
        if not self.storage_url:
            self.storage_url = str(self.var / "artifacts")

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
        return listed(self.smtp_url)

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
