"""How the e-mail around the documents looks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.policies import Duration, Size
from pipeline.report import Model, OneOrMany


class Message(Model):
    """How the e-mail around the documents looks; texts are Jinja2 templates over the delivery's context."""

    subject: str | None = Field(None, description="Default: the template's subject.txt.")
    sender: str | None = Field(None, alias="from", description="Default: PIPELINE_MAIL_FROM.")
    reply_to: str | None = None
    attach: Annotated[list[Literal["pdf", "xlsx", "csv", "html"]], OneOrMany] | None = Field(
        None, description="Which formats are attached. Default: all of the report's; [] is none."
    )
    link_above: Size = Field(
        7_000_000,
        description="Files of a message that are larger together, such as 5MB, are links instead of attachments, where "
        "PIPELINE_PUBLIC_URL is set; 0: always.",
    )
    link_for: Duration = Field("30d", description="How long such links work.")
    unsubscribe: bool | None = Field(
        None,
        description="Whether the message has a link to unsubscribe, also as one click in mail programs; needs "
        "PIPELINE_PUBLIC_URL. Default: where recipients are subscriptions.",
    )
