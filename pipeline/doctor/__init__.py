"""`pipeline doctor`: what is needed is looked at, and each fault comes with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline.doctor import machine, reach, signing, telling
from pipeline.doctor.check import Check, Verdict, fault
from pipeline.settings import Settings, settings

__all__ = ["Check", "Verdict", "examine", "examine_source"]

CHECKS: tuple[Callable[[Settings], Check], ...] = (
    machine.python,
    machine.packages,
    machine.libraries,
    machine.fonts,
    machine.shared_memory,
    reach.broker,
    reach.results,
    reach.database,
    reach.storage,
    machine.disk,
    reach.mail_mode,
    reach.relay,
    signing.dkim,
    telling.notices,
    reach.clocks,
)


def examine(configured: Settings) -> list[Check]:
    """Every check, in the order a person reads them. Side by side, since several of them may wait for a server.

    Changes nothing and starts nothing: what `pipeline up` brings is said to be missing, which is no fault.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda check: _carried_out(check, configured), CHECKS))


def _carried_out(check: Callable[[Settings], Check], configured: Settings) -> Check:
    try:
        return check(configured)
    except Exception as error:  # noqa: BLE001 - one check that breaks must not hide the others
        name = check.__name__.replace("_", " ")
        return fault(name, f"could not be checked: {type(error).__name__}: {error}", "report this as a bug")


def examine_source(name: str) -> Check:
    """Whether the database that reports call `name` answers: its server, the user, and whether that may write."""
    from pipeline.doctor.rights import source

    return source(name, settings())
