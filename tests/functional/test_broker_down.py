"""The broker is down while slots are due: they fire, and their runs are carried out once it is back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import FINAL_RUN, Attempt, Run, Schedule, Slot
from tests.functional.running import Running

FIRES = 50
HOURLY = f"""
command: [/bin/echo, "{{period_start}}"]
period: last_1_hours
when: {{every: 1h}}
catch_up: {{mode: all, window: 60h, max: {FIRES + 1}}}
overlap: allow
"""


def test_fifty_slots_fire_while_the_broker_is_down_and_each_runs_once_for_its_own_period(
    sqlite_pipeline: Running,
) -> None:
    pipeline, hour = sqlite_pipeline, datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    pipeline.schedule("hourly", HOURLY)
    pipeline.until(lambda: pipeline.rows(Schedule, Schedule.key == "hourly"), 60)
    pipeline.kill("broker")
    try:
        with pipeline.transaction() as session:
            row = session.get_one(Schedule, "hourly")
            # As if no beat had run for fifty hours.
            row.high_water_mark, row.next_due_at = hour - timedelta(hours=FIRES), hour - timedelta(hours=FIRES - 1)
        of_hourly = (Slot.schedule_key == "hourly", Slot.decision == "fired")
        pipeline.until(lambda: len(pipeline.rows(Slot, *of_hourly)) >= FIRES, 60)
    finally:
        pipeline.start_broker()

    def over() -> bool:
        pipeline.revive("worker")  # Celery has been seen to end one whose broker goes away
        return all(run.status in FINAL_RUN for run in pipeline.rows(Run, Run.schedule_key == "hourly"))

    pipeline.until(over, 90)
    runs = pipeline.rows(Run, Run.schedule_key == "hourly")
    expected = {hour - timedelta(hours=age) for age in range(FIRES)}
    assert {run.status for run in runs} == {"succeeded"}
    assert {run.due_at for run in runs} >= expected
    assert len(runs) == len({run.due_at for run in runs})
    with Session(pipeline.engine) as session:
        said = session.execute(
            select(Run.due_at, Attempt.output)
            .join(Attempt, Attempt.run_id == Run.id)
            .where(Run.schedule_key == "hourly", Attempt.output.is_not(None))
        ).all()
        once = session.scalar(select(func.count(Attempt.id)).where(Attempt.run_id.in_([run.id for run in runs])))
    assert {(due, output.strip()) for due, output in said} == {
        (run.due_at, (run.due_at - timedelta(hours=1)).isoformat()) for run in runs
    }
    assert once == 2 * len(runs)  # start and the command, each in one attempt
