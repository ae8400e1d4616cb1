"""Firing: slots that were late or paused say so; a schedule's open runs are found without its finished ones"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BEFORE = ("fired", "skipped", "coalesced")
AFTER = (*BEFORE, "late", "paused")


def upgrade() -> None:
    _decisions(AFTER)
    unfinished = sa.text("finished_at IS NULL")
    op.create_index("ix_runs_open", "runs", ["schedule_key"], postgresql_where=unfinished, sqlite_where=unfinished)


def downgrade() -> None:
    op.drop_index("ix_runs_open", "runs")
    op.execute("UPDATE slots SET decision = 'skipped' WHERE decision IN ('late', 'paused')")
    _decisions(BEFORE)


def _decisions(allowed: tuple[str, ...]) -> None:
    name = op.f("ck_slots_decision")
    words = ", ".join(f"'{word}'" for word in allowed)
    with op.batch_alter_table("slots") as slots:
        slots.drop_constraint(name, type_="check")
        slots.create_check_constraint(name, sa.text(f"decision IN ({words})"))
