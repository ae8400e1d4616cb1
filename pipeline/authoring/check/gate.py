"""Whether what a schedule file asks for at the gate can be: the figures of `send_if`, who approves."""

from __future__ import annotations

from pipeline import conditions
from pipeline.authoring.check.faults import Subject
from pipeline.report import Report


def check_gate(subject: Subject, report: Report, *, has_build: bool) -> None:
    """Check what can be known before a run: with a build() of its own a report may have any figure."""
    text = subject.schedule.send_if
    if text and not has_build:
        totals = [name for name, column in report.columns.items() if column.total]
        with subject.telling("send_if"):
            conditions.check_names(text, ["rows", "documents", *totals])
    if subject.schedule.approvers and not _can_ask(subject):
        subject.fault("approvers", "are asked for nothing: say approval: required, or what to require")
    if subject.schedule.lapse_after and not _can_ask(subject):
        subject.fault("lapse_after", "is for approvals: say approval: required, or what to require")


def _can_ask(subject: Subject) -> bool:
    return bool(subject.schedule.require) or subject.schedule.approval == "required"
