"""What an application says when it starts a run, as keyword arguments or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from pipeline.errors import Refused
from pipeline.mistakes import sentences
from pipeline.report import Model, OneOrMany, Scalar, Text


class Wish(Model):
    """A wish for a run of `schedule`; what is left out is as the schedule says."""

    schedule: Text = Field(description="The schedule: its file's name.")
    params: dict[str, Scalar] = Field({}, description="Values for its parameters.")
    period: Text | None = Field(None, description="last_week, 2026-Q3, 2026-07-01..2026-10-01 …")
    key: Annotated[list[Text], OneOrMany] = Field([], description="Only these keys.")
    to: Annotated[list[str], OneOrMany] = Field([], description="To these addresses instead of its recipients.")
    send: bool = Field(default=True, description="false: make the documents, send nothing.")
    now: bool = Field(default=False, description="Do not wait for `ready_when` and `after`.")
    by: str | None = Field(None, description="Who wishes it.")


def read(said: Mapping[str, Any], place: str) -> Wish:
    """The wish that `said` means, nothing said being left out. Raises Refused with a line for each mistake."""
    try:
        return Wish.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        raise Refused("\n".join(sentences(error, place, Wish, {}))) from None
