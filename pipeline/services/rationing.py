"""Rates shared by all workers: the places of a relay and of recipients' domains, lent with rows that are claimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, inf
from uuid import UUID

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from pipeline.bulk import insert_new
from pipeline.db import clock
from pipeline.models import Attempt, Outcome, RateUse
from pipeline.rates import Pace, Rate, Window, allot
from pipeline.services import relays

# Seconds for which a sender has its places, and uses them as often as the rates allow: so long nobody else has them.
HORIZON = 2.0
# Seconds that a message takes: as long as nobody knows better, and at least.
EACH, LEAST = 0.02, 0.001


@dataclass(frozen=True)
class Lent:
    """The places that a sender has, and which of them each of its deliveries takes."""

    rates: Mapping[str, Rate]
    pace: Pace
    names: Mapping[UUID, Sequence[str]]

    def free_at(self, delivery_id: UUID) -> float:
        """When it may begin, in seconds since the places were lent."""
        return self.pace.free_at(self.names.get(delivery_id, ()))

    def ended(self, delivery_id: UUID, at: float) -> None:
        """It was handed over, or not: only now its places' time begins."""
        self.pace.ended(self.names.get(delivery_id, ()), at)


UNLIMITED = Lent({}, Pace({}, {}), {})


@dataclass(frozen=True)
class Rates:
    """What limits one relay now: for all its messages, and by recipient domain (which all relays share).

    `each`: how many seconds a message to it takes this process.
    """

    of_relay: Mapping[str, Rate]
    of_domain: Mapping[str, Rate]
    each: float = EACH

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


def rates_of(
    session: Session, relay: str, configured: Iterable[Rate], now: datetime, each: float | None = None
) -> Rates:
    """The configured rates as they apply to this relay, and the pace that it has asked for."""
    names = {"", relay, relay.rpartition(":")[0]}
    configured = list(configured)
    of_relay = {f"{relay} {Rate('', rate.count, rate.seconds)}": rate for rate in configured if rate.name in names}
    slow = relays.pace(session, relay, now)
    if slow is not None:
        of_relay[f"{relay} {Rate('', slow.count, slow.seconds)}, as it asked for"] = slow
    of_domain = {str(rate): rate for rate in configured if rate.name not in names}
    return Rates(of_relay, of_domain, max(LEAST, each or EACH))


def ration(
    session: Session, rates: Rates, wanting: Sequence[tuple[UUID, str]], attempt_id: UUID, most: int
) -> tuple[list[UUID], dict[datetime, list[UUID]], Lent]:
    """Who of `wanting` (ids and addresses) may go, in order, `most` at most; who not before when; and the places lent.

    A sender gets no more places than it can use. Once lent they are nobody else's before `take_back`, or before its
    attempt has ended. The rates that somebody of them falls under are locked until the transaction ends.
    """
    names, limits = {one: rates.names(address) for one, address in wanting}, rates.all
    rows, now = _locked(session, {name for some in names.values() for name in some}), clock(session)
    windows = {name: _window(session, limits[name], row, attempt_id, now) for name, row in rows.items()}
    free = {name: [at - now.timestamp() for at in one.free(now.timestamp(), most)] for name, one in windows.items()}
    seconds = {name: one.rate.seconds for name, one in windows.items()}
    allotted = zip(names, allot(names.values(), Pace(seconds, free), HORIZON, most), strict=True)
    times = {one: at for one, at in allotted if at is not None}
    granted = sorted((one for one in times if times[one] <= HORIZON), key=lambda one: times[one])
    wanted = Counter(name for one in granted for name in names[one])
    for name, window in windows.items():
        free[name] = free[name][: min(wanted[name], max(1, ceil(min(seconds[name], HORIZON) / rates.each)))]
        window.lend(len(free[name]))
        _keep(rows[name], window, attempt_id, len(free[name]))
    late = _late({one: at for one, at in times.items() if at > HORIZON}, now, asks_again=bool(granted))
    lent = {name: limits[name] for name, places in free.items() if places}
    pace = Pace(seconds, {name: free[name] for name in lent})
    return granted, late, Lent(lent, pace, {one: names[one] for one in granted})


def _late(times: Mapping[UUID, float], now: datetime, *, asks_again: bool) -> dict[datetime, list[UUID]]:
    """Who need not be looked at before when; a sender that has others to send asks for the next ones by itself."""
    found: dict[datetime, list[UUID]] = {}
    for one, at in times.items():
        # What others have they give back soon, and say then when it is free.
        seconds = HORIZON if at == inf else at
        if not asks_again or seconds > 2 * HORIZON:
            found.setdefault(now + timedelta(seconds=seconds), []).append(one)
    return found


def take_back(session: Session, lent: Lent, attempt_id: UUID, elapsed: float) -> None:
    """The places are free for all again, each when its last message lets it; `elapsed` seconds after they were lent.

    What was taken for lost meanwhile is back already.
    """
    rows, now = _locked(session, lent.rates), clock(session).timestamp()
    for name, ends in lent.pace.ends().items():
        row = rows[name]
        if str(attempt_id) in row.held:
            window = Window(lent.rates[name], row.spans, sum(row.held.values()))
            window.take_back(now - elapsed + end for end in ends)
            window.forget(now)
            _keep(row, window, attempt_id, 0)


def forget(session: Session, before: datetime) -> Counter[str]:
    """Delete what is kept of rates that nobody has used since `before` (UTC): of relays, paces and domains long gone.

    How many went; by then they say nothing any more that counts.
    """
    rows = session.scalars(select(RateUse).with_for_update(skip_locked=True)).all()
    since = or_(Attempt.finished_at.is_(None), Attempt.finished_at >= before)
    holders = select(Attempt.id).where(Attempt.id.in_({UUID(one) for row in rows for one in row.held}), since)
    lately = {str(one) for one in session.scalars(holders)}
    gone = [
        row.name
        for row in rows
        if lately.isdisjoint(row.held) and all(last < before.timestamp() for _, last, _ in row.spans)
    ]
    session.execute(delete(RateUse).where(RateUse.name.in_(gone)))
    return +Counter(rate_uses=len(gone))


def _locked(session: Session, names: Iterable[str]) -> dict[str, RateUse]:
    insert_new(session, RateUse, [{"name": name, "spans": [], "held": {}} for name in sorted(names)])
    rows = select(RateUse).where(RateUse.name.in_(names)).order_by(RateUse.name).with_for_update()
    found = {row.name: row for row in session.scalars(rows.execution_options(populate_existing=True))}
    return found if len(found) == len(set(names)) else _locked(session, names)  # one was just forgotten


def _window(session: Session, rate: Rate, row: RateUse, attempt_id: UUID, now: datetime) -> Window:
    """What is there of a rate. Places of attempts that have ended come back: what they let through has ended by now."""
    holders = [UUID(one) for one in row.held]
    at_work = select(Attempt.id).where(Attempt.id.in_(holders), Attempt.outcome == Outcome.RUNNING)
    alive = {str(one) for one in session.scalars(at_work)} - {str(attempt_id)} if holders else set()
    lost = sum(count for one, count in row.held.items() if one not in alive)
    window = Window(rate, row.spans, sum(row.held.values()))
    window.take_back([now.timestamp()] * lost)
    window.forget(now.timestamp())
    row.held = {one: count for one, count in row.held.items() if one in alive}
    return window


def _keep(row: RateUse, window: Window, attempt_id: UUID, count: int) -> None:
    """Write how the rate stands, with `count` of its places at this attempt."""
    others = {one: number for one, number in row.held.items() if one != str(attempt_id)}
    row.spans, row.held = window.spans, {**others, **({str(attempt_id): count} if count else {})}
