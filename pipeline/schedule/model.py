"""All that a schedule file may say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline import conditions, notice, pools, readiness, requirements, targets, timing
from pipeline.destinations import Destination, Folder, Webhook
from pipeline.mistakes import did_you_mean
from pipeline.policies import CatchUp, Deadline, Duration, Keep, Late, Overlap, Uncertain
from pipeline.readiness import After, ReadyWhen
from pipeline.report import NAME, Model, OneOrMany, Report, Scalar, Text
from pipeline.retry import Retry
from pipeline.schedule.message import Message
from pipeline.schedule.recipients import Recipients, read_recipients
from pipeline.targets import Command, ForeignTask
from pipeline.when import When

# The kinds of step whose retry a schedule file may set.
RETRIES: dict[str, Retry] = {
    "fetch": Retry(attempts=5, first=30, factor=2, ceiling=900),
    "plan": Retry(attempts=3, first=10, factor=2, ceiling=60),
    "render": Retry(attempts=3, first=10, factor=2, ceiling=60),
    "deliver": Retry(attempts=8, first=60, factor=2, ceiling=3600, give_up_after=86400),
    "command": Retry(attempts=5, first=60, factor=2, ceiling=900),
    # A task of another application has its own retries; it is sent again only where the schedule says so.
    "task": Retry(attempts=1, first=60, factor=2, ceiling=900),
}


def _command(value: Any) -> Any:
    return value if isinstance(value, Mapping) else {"run": value}


def _share(value: Any) -> float:
    try:
        share = float(value[:-1]) / 100 if isinstance(value, str) and value.endswith("%") else float(value)
    except (TypeError, ValueError):
        share = -1.0
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise ValueError(f'"{value}" is not a share of all documents: write it like 2% or 0.02')
    return share


# What these run has a limit of its own.
_OWN_LIMIT = ("command", "task")


class Schedule(Model):
    """One schedule file. Exactly one of `report`, `workflow`, `task`, `command`; without `when` by hand only."""

    report: Report | str | None = Field(None, description="A report, or the name of a schedule file that holds one.")
    workflow: str | None = Field(None, pattern=NAME, description="The name of a @workflow function.")
    task: Annotated[ForeignTask, BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v)] | None = None
    command: Annotated[Command, BeforeValidator(_command)] | None = None
    params: dict[str, Scalar] = Field({}, description="Values for the report's or workflow's parameters.")
    description: str | None = Field(None, description="What it is for; shown by `pipeline schedules`.")
    period: Text | None = Field(
        None, description="What a run is about. Default: the report's period; for anything else yesterday."
    )
    when: Annotated[When, BeforeValidator(lambda v: {"cron": v} if isinstance(v, str) else v)] | None = None
    catch_up: Annotated[CatchUp, BeforeValidator(lambda v: {"mode": v} if isinstance(v, str) else v)] = CatchUp()
    overlap: Overlap = Field(
        Overlap.SKIP, description="A slot that is due while a run of this schedule is active: skip it, queue its run …"
    )
    ready_when: ReadyWhen | None = None
    after: Annotated[After, BeforeValidator(readiness.after)] | None = None
    recipients: Annotated[Recipients, BeforeValidator(read_recipients)] = Recipients()
    combine: bool = Field(
        default=False, description="Whether an address with several keys gets one message with all its documents."
    )
    message: Message = Message()
    deliver_to: Annotated[list[Destination], OneOrMany] = Field(
        [],
        description="Where each document goes beside e-mail: folders, such as file:///reports/{period}/, and webhooks.",
    )
    retry: dict[str, dict[str, Any]] = Field(
        {}, description="By kind of step (fetch, plan, render, deliver; command; task): attempts, first …"
    )
    pools: dict[str, Annotated[str, Field(pattern=NAME)]] = Field(
        {},
        description="By kind of step (fetch, render, deliver; command …): the pool that it takes a place in while it "
        "works, see PIPELINE_POOLS. Default: a fetch's database.",
    )
    concurrency: int | None = Field(
        None, ge=1, le=1000, description="How many of its runs are carried out at once, backfills included."
    )
    on_empty: Literal["fail", "skip", "send"] = Field("fail", description="What to do when the sources give no rows.")
    allow_failed: Annotated[float, BeforeValidator(_share)] = Field(
        0.0, description="Share of documents that may fail before nothing at all is sent, such as 2%."
    )
    require: Annotated[dict[str, list[str]], BeforeValidator(requirements.read)] = Field(
        {},
        description="Limits for rows, rows.SOURCE, documents, recipients, such as >= 1000 or <= 300% of the last "
        "successful run; versus_last is for rows. Where one is not kept, nothing is sent before somebody approves it.",
    )
    approval: Literal["none", "required"] = Field(
        "none", description="required: nothing is sent before somebody has approved the documents."
    )
    approvers: Annotated[list[str] | None, OneOrMany] = Field(
        None, description="Who is asked for approvals: e-mail addresses and the URLs of webhooks. Default: notify."
    )
    lapse_after: Duration | None = Field(
        None, description="How long an approval is waited for. Default: until the next slot; without one 7d."
    )
    send_if: str | None = Field(
        None,
        description="Sends a document only where this is true of its figures: rows > 0, or late_rate > 0.1 and rows > "
        "10. Figures: rows, documents, columns with a total, numbers and figures of build().",
    )
    allow_refused: Annotated[float, BeforeValidator(_share)] = Field(
        0.1,
        description="Share of messages that servers may refuse for their content before the run stops for a person; "
        "from ten on.",
    )
    on_uncertain: Uncertain = Field(
        Uncertain.HOLD,
        description="A message of which nobody can say whether it went out: hold it for a person, resend it with the "
        "same Message-ID (at least once), or assume_sent (at most once).",
    )
    late: Late = Field(
        Late.WAIT,
        description="Deliveries turned away for now: the run waits for them, or it closes as partial at once and they "
        "complete it later.",
    )
    keep: Keep | None = Field(None, description="Until when its runs are kept, in the place of PIPELINE_KEEP_DAYS.")
    deadline: Deadline | None = None
    time_limit: Duration | None = Field(
        None, description="How long a run may work before it is stopped as failed, such as 2h."
    )
    notify: Annotated[list[str] | None, OneOrMany] = Field(
        None,
        description="Who hears of failures, lateness and recovery: e-mail addresses and the URLs of webhooks. "
        "Default: PIPELINE_NOTIFY; [] is nobody.",
    )

    @field_validator("period")
    @classmethod
    def _period_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            timing.validate_period_spec(value)
        return value

    @field_validator("report", mode="before")
    @classmethod
    def _report_name(cls, value: Any) -> Any:
        # Decided here, so that a mistake inside the report is told as such and not as "not a string".
        return Report.model_validate(value) if isinstance(value, dict) else value

    @field_validator("retry")
    @classmethod
    def _retries_are_known(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for kind, fields in value.items():
            # A workflow's own steps have names of their own; their defaults stand at their @step.
            if kind in _OWN_LIMIT and "time_limit" in fields:
                raise ValueError(f".{kind} time_limit: write it at `{kind}`, as {kind}: {{…, time_limit: 1h}}")
            try:
                RETRIES.get(kind, Retry()).overridden(fields)
            except ValueError as error:
                raise ValueError(f".{kind} {str(error).removeprefix('retry ')}") from None
        return value

    @field_validator("send_if")
    @classmethod
    def _is_a_condition(cls, value: str | None) -> str | None:
        if value is not None:
            conditions.parse(value)
        return value

    @field_validator("deliver_to")
    @classmethod
    def _destinations_are_different(cls, value: list[Destination]) -> list[Destination]:
        seen: set[str] = set()
        for one in value:
            if one.address in seen:
                raise ValueError(f'has "{one.address}" twice: take one out')
            seen.add(one.address)
        return value

    @field_validator("notify", "approvers")
    @classmethod
    def _can_be_told(cls, value: list[str] | None) -> list[str] | None:
        for written in value or ():
            notice.target(written)
        return value

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(target is not None for target in (self.report, self.workflow, self.task, self.command)) != 1:
            raise ValueError("needs exactly one of report, workflow, task, command")
        if self.kind != "report" and (self.recipients != Recipients() or self.deliver_to):
            raise ValueError(f"recipients and deliver_to belong to a report, not to a {self.kind}")
        if self.kind != "report" and (self.require or self.send_if or self.approval != "none"):
            raise ValueError(f"require, approval and send_if belong to a report, not to a {self.kind}")
        if target := self.command or self.task:
            targets.check(target, self.params)
        if isinstance(self.report, Report):
            self._check_against(self.report)
        return self

    def _check_against(self, report: Report) -> None:
        if report.split_by and any(person.key is None for person in self.recipients.people):
            raise ValueError(f"recipients need a key each: the report is split by {report.split_by}")
        for source in requirements.sources(self.require):
            if source not in report.sources:
                hint = did_you_mean(source, report.sources, f"there are {', '.join(report.sources)}")
                raise ValueError(f"require.rows.{source} counts a source that the report does not have: {hint}")
        unknown = set(self.message.attach or ()) - set(report.formats)
        if unknown:
            raise ValueError(f"message.attach names {', '.join(sorted(unknown))}, which report.formats does not make")
        for webhook in self.webhooks.values():
            if wrong := ", ".join(sorted(set(webhook.attach or ()) - set(report.formats))):
                raise ValueError(f"deliver_to.attach names {wrong}, which report.formats does not make")

    @property
    def kind(self) -> Literal["report", "workflow", "task", "command"]:
        if self.report is not None or self.workflow is not None:
            return "report" if self.report is not None else "workflow"
        return "command" if self.command is not None else "task"

    @property
    def target(self) -> str:
        """What it runs, by its name: a report's or workflow's, a task's, or a program's."""
        if self.command is not None:
            return PurePath(self.command.run[0]).name
        named = self.workflow or (self.task.name if self.task else self.report)
        return (named.name or named.title) if isinstance(named, Report) else str(named)

    @property
    def folders(self) -> dict[str, Folder]:
        """The folders that get copies, by their URLs as they are written."""
        return {one.address: one for one in self.deliver_to if isinstance(one, Folder)}

    @property
    def webhooks(self) -> dict[str, Webhook]:
        """The webhooks that documents are posted to, by their URLs as they are written."""
        return {one.address: one for one in self.deliver_to if isinstance(one, Webhook)}

    @property
    def offers_unsubscribe(self) -> bool:
        """Whether its messages say how to get no more of them."""
        said = self.message.unsubscribe
        return self.recipients.subscriptions if said is None else said

    @property
    def period_spec(self) -> str:
        """What the period of a run is computed from when nobody names one."""
        return self.period or (self.report.period if isinstance(self.report, Report) else "yesterday")

    def retry_for(self, kind: str, default: Retry | None = None) -> Retry:
        """The retry of one kind of step: the file's values over `default`."""
        return (default or RETRIES.get(kind, Retry())).overridden(self.retry.get(kind, {}))

    def pool_for(self, kind: str, default: str | None = None) -> str | None:
        """The pool of one kind of step: what the file says over `default`, in lower case."""
        return pools.of_kind({"pools": self.pools}, kind, default)
