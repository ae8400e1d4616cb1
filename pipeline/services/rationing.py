"""Rates shared by all workers: room in the windows of a relay and of recipients' domains, taken as rows are claimed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.db import insert_new
from pipeline.models import RateUse
from pipeline.rates import Rate, Window, allot
from pipeline.services import relays

# Seconds ahead for which room is taken: so long a sender keeps to the pace, and so long nobody else has it.
HORIZON = 2.0


@dataclass(frozen=True)
class Rates:
    """What limits one relay now: for all its messages, and by recipient domain (which all relays share)."""

    of_relay: Mapping[str, Rate]
    of_domain: Mapping[str, Rate]

    def __bool__(self) -> bool:
        return bool(self.of_relay or self.of_domain)

    def __str__(self) -> str:
        return ", ".join([*self.of_relay, *self.of_domain])

    @property
    def all(self) -> dict[str, Rate]:
        return {**self.of_relay, **self.of_domain}

    @property
    def seconds_each(self) -> float:
        """How long the tightest of them makes one message wait for the one before it."""
        return max((rate.seconds / rate.count for rate in self.all.values()), default=0.0)

    def names(self, address: str) -> list[str]:
        """Those that a message to this address falls under."""
        domain = address.rpartition("@")[2].lower()
        return [*self.of_relay, *(name for name, rate in self.of_domain.items() if rate.name == domain)]


def rates_of(session: Session, relay: str, configured: Iterable[Rate], now: datetime) -> Rates:
    """The configured rates as they apply to this relay, and the pace that it has asked for."""
    names = {"", relay, relay.rpartition(":")[0]}
    configured = list(configured)
    of_relay = {f"{relay} {Rate('', rate.count, rate.seconds)}": rate for rate in configured if rate.name in names}
    slow = relays.pace(session, relay, now)
    if slow is not None:
        of_relay[f"{relay} {Rate('', slow.count, slow.seconds)}, as it asked for"] = slow
    return Rates(of_relay, {str(rate): rate for rate in configured if rate.name not in names})


def ration(
    session: Session, rates: Rates, wanting: Sequence[tuple[UUID, str]], now: datetime, most: int
) -> tuple[dict[UUID, float], dict[datetime, list[UUID]]]:
    """Who of `wanting` (ids and addresses) may go in how many seconds, `most` at most; and who not before when.

    The rates are locked until the transaction ends: workers take room one after the other.
    """
    windows = _locked(session, rates.all, now)
    wanted = [[windows[name] for name in rates.names(address)] for _, address in wanting]
    granted: dict[UUID, float] = {}
    late: dict[datetime, list[UUID]] = {}
    for (one, _), at in zip(wanting, allot(wanted, now.timestamp(), HORIZON, most), strict=True):
        if at is None:
            continue
        seconds = at - now.timestamp()
        if seconds <= HORIZON:
            granted[one] = seconds
        else:
            late.setdefault(now + timedelta(seconds=seconds), []).append(one)
    for name, window in windows.items():
        session.get_one(RateUse, name).spans = window.spans
    return granted, late


def _locked(session: Session, rates: Mapping[str, Rate], now: datetime) -> dict[str, Window]:
    insert_new(session, RateUse, [{"name": name, "spans": []} for name in sorted(rates)])
    rows = session.scalars(
        select(RateUse)
        .where(RateUse.name.in_(rates))
        .order_by(RateUse.name)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    windows = {row.name: Window(rates[row.name], row.spans) for row in rows}
    for window in windows.values():
        window.forget(now.timestamp())
    return windows
