"""Pools: which one a step is of, and since when it waits for a place"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("steps", sa.Column("pool", sa.Text(), nullable=True))
    op.add_column("steps", sa.Column("place_wanted_at", sa.DateTime(timezone=True), nullable=True))
    waiting = sa.text("place_wanted_at IS NOT NULL AND status = 'queued'")
    op.create_index(
        "ix_steps_waiting",
        "steps",
        ["pool", "priority", "place_wanted_at"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )


def downgrade() -> None:
    op.drop_index("ix_steps_waiting", "steps")
    op.drop_column("steps", "place_wanted_at")
    op.drop_column("steps", "pool")
