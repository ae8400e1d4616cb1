"""One finding of `pipeline doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is: a fault keeps reports from going out, a warning will some day."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and, unless all is well, the one thing to do about it."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def fine(name: str, found: str) -> Check:
    return Check(name, Verdict.OK, found)


def warning(name: str, found: str, advice: str) -> Check:
    return Check(name, Verdict.WARNING, found, advice)


def fault(name: str, found: str, advice: str) -> Check:
    return Check(name, Verdict.FAULT, found, advice)
