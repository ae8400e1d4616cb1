"""Sentences as the console says them: where it has a button or page for a command, a link leads there."""

from __future__ import annotations

import re
from urllib.parse import quote

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

# Commands, what does the same here, and where that is. What is not here is for whoever is at the machine.
PLACES = [
    (re.compile(f"pipeline {command}"), words, address)
    for command, words, address in (
        (r"show (\S+) --traceback", "What went wrong", "/runs/{}#wrong"),
        (r"show (\S+)", "the run's page", "/runs/{}"),
        (r"files (\S+)", "Documents", "/runs/{}/documents"),
        (r"deliveries (\S+) --status (\w+)", "Deliveries", "/runs/{}/deliveries?status={}"),
        (r"deliveries (\S+)", "Deliveries", "/runs/{}/deliveries"),
        (r"resolve (\S+)", "What went wrong", "/runs/{}#wrong"),
        (r"rerun (\S+) --failed-deliveries", "Resend", "/runs/{}#resend"),
        (r"rerun (\S+) --from (\w+)", "Rerun from {1} on", "/runs/{}#rerun"),
        (r"rerun (\S+)", "Rerun", "/runs/{}#rerun"),
        (r"cancel (\S+)", "Cancel", "/runs/{}#cancel"),
        (r"approve (\S+)", "Approve", "/runs/{}#approve"),
        (r"reject (\S+)", "Reject", "/runs/{}#reject"),
        (r"proceed (\S+)", "Go on without waiting", "/runs/{}#proceed"),
        (r"trigger ([a-z]\S*).*", "Run now", "/schedules/{}#trigger"),
        (r"trigger NAME", "Run now, on a schedule's page,", "/schedules"),
        (r"resume (\S+)", "Resume", "/schedules/{}#resume"),
        (r"slots (\S+)", "What was decided", "/schedules/{}#decided"),
        (r"backfill --cancel \S+", "Cancel, beside it,", "#opened"),
        (r"schedules", "Schedules", "/schedules"),
        (r"runs (\S+)", "Runs", "/runs?schedule={}"),
        (r"who NAME", "Recipients", "/recipients"),
        (r"mail start", "Let mail go on", "/system#mail"),
        (r"mail status", "System", "/system#mail"),
    )
]


# Whose buttons and forms only operators see: to others they stay commands, for somebody who may.
ACTS = re.compile(r"pipeline (resolve|rerun|cancel|approve|reject|proceed|trigger|resume|backfill|mail start)\b.*")


@pass_context
def coded_for_visitor(context: Context, text: str) -> Markup:
    """`coded`, for whoever looks at the page."""
    visitor = context.get("visitor")
    return coded(text, operates=visitor is None or visitor.may("operate"))


def coded(text: str, *, operates: bool = True) -> Markup:
    """A sentence whose `commands` are links to what does the same here, or set as commands."""
    if operates:  # the form calls the option so
        text = text.replace("with --newest-definition", "as the schedule says today")
    parts = re.split(r"`([^`]+)`", text)
    said = (_command(part, operates=operates) if number % 2 else escape(part) for number, part in enumerate(parts))
    return Markup("").join(said)


def _command(text: str, *, operates: bool) -> Markup:
    for pattern, words, address in PLACES if operates or not ACTS.fullmatch(text) else ():
        if found := pattern.fullmatch(text):
            to = address.format(*(quote(part, safe="@") for part in found.groups()))
            return Markup('<a href="{}">{}</a>').format(to, words.format(*found.groups()))
    return Markup("<code>{}</code>").format(text)
