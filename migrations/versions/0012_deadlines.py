"""Deadlines: what has not started, or finished, in time, and what was told of that, is found without all the rest"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UNSTARTED = sa.text("start_by IS NOT NULL AND started_at IS NULL AND finished_at IS NULL")
OPEN = sa.text("finish_by IS NOT NULL AND finished_at IS NULL")


def upgrade() -> None:
    op.create_index("ix_runs_start_by", "runs", ["start_by"], postgresql_where=UNSTARTED, sqlite_where=UNSTARTED)
    op.create_index("ix_runs_finish_by", "runs", ["finish_by"], postgresql_where=OPEN, sqlite_where=OPEN)
    _notices_by("kind", "subject")


def downgrade() -> None:
    _notices_by("subject")
    op.drop_index("ix_runs_finish_by", "runs")
    op.drop_index("ix_runs_start_by", "runs")


def _notices_by(*columns: str) -> None:
    still = sa.text("closed_at IS NULL")
    op.drop_index("ix_notices_open", "notices")
    op.create_index("ix_notices_open", "notices", columns, postgresql_where=still, sqlite_where=still)
