"""Pages of runs and of a run's deliveries, by status, in a time that does not grow with their number"""

from alembic import op

revision = "0024"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_runs_status_created_at", "runs", ["status", "created_at"])
    op.create_index("ix_deliveries_run_id_status_key", "deliveries", ["run_id", "status", "key"])


def downgrade() -> None:
    op.drop_index("ix_deliveries_run_id_status_key", table_name="deliveries")
    op.drop_index("ix_runs_status_created_at", table_name="runs")
