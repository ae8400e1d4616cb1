"""What was purged, in numbers, by schedule and month"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "totals",
        sa.Column("schedule_key", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["schedule_key"], ["schedules.key"], name=op.f("fk_totals_schedule_key")),
        sa.PrimaryKeyConstraint("schedule_key", "month", name=op.f("pk_totals")),
    )


def downgrade() -> None:
    op.drop_table("totals")
