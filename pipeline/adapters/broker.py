"""What a broker says about itself: whether it answers, what it is, and whether it may throw messages away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.errors import TransientError
from pipeline.settings import masked

ANSWER_WITHIN = 5.0


@dataclass(frozen=True)
class BrokerFacts:
    """`policy` is Redis's maxmemory-policy and `now` its clock; both None where the server does not tell."""

    server: str
    policy: str | None = None
    now: datetime | None = None


def ask(url: str) -> BrokerFacts:
    """Connects and asks, within a few seconds.

    Raises TransientError with the reason when it does not answer.
    """
    try:
        return _ask_amqp(url) if url.startswith("amqp") else _ask_redis(url)
    except Exception as error:  # each client raises errors of its own; all mean the same here
        raise TransientError(f"broker {masked(url)} does not answer: {error}") from error


def _ask_redis(url: str) -> BrokerFacts:
    import redis

    # The word for a Unix socket is Celery's in our settings, and another one in the client.
    address = url.replace("redis+socket://", "unix://", 1).replace("virtual_host=", "db=", 1)
    client = redis.Redis.from_url(address, socket_timeout=ANSWER_WITHIN, socket_connect_timeout=ANSWER_WITHIN)
    with client:
        about = client.info("server")
        seconds, microseconds = client.time()
        name = "Valkey" if "valkey_version" in about else "Redis"
        version = about.get("valkey_version") or about.get("redis_version")
        now = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
        return BrokerFacts(f"{name} {version}", _policy(client), now)


def _policy(client: object) -> str | None:
    """Hosted servers forbid CONFIG: then the policy is unknown."""
    import redis

    try:
        found = client.config_get("maxmemory-policy")  # type: ignore[attr-defined]
    except redis.ResponseError:
        return None
    return str(found["maxmemory-policy"])


def _ask_amqp(url: str) -> BrokerFacts:
    from kombu.connection import Connection

    with Connection(url, connect_timeout=ANSWER_WITHIN) as connection:  # type: ignore[no-untyped-call]
        connection.connect()
        about = connection.connection.server_properties
        return BrokerFacts(f"{about.get('product', 'AMQP')} {about.get('version', '')}".strip())
