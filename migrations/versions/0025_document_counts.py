"""A run's documents counted by status, and the runs that somebody triggered, each from an index"""

import sqlalchemy as sa
from alembic import op

TRIGGERED = sa.text("trigger <> 'schedule'")

revision = "0025"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_documents_run_id_status", "documents", ["run_id", "status"])
    op.create_index(
        "ix_runs_triggered", "runs", ["trigger", "created_at"], postgresql_where=TRIGGERED, sqlite_where=TRIGGERED
    )


def downgrade() -> None:
    op.drop_index("ix_runs_triggered", table_name="runs")
    op.drop_index("ix_documents_run_id_status", table_name="documents")
