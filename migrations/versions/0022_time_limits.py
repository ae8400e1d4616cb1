"""When a run's time is used up, and what a try that goes wrong was working on"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("working_on", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("stop_at", sa.DateTime(timezone=True), nullable=True))
    timed = sa.text("stop_at IS NOT NULL AND finished_at IS NULL")
    op.create_index("ix_runs_stop_at", "runs", ["stop_at"], postgresql_where=timed, sqlite_where=timed)


def downgrade() -> None:
    op.drop_index("ix_runs_stop_at", "runs")
    op.drop_column("runs", "stop_at")
    op.drop_column("attempts", "working_on")
