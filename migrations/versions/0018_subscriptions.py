"""Who subscribed to which schedule's report, and who has ended it"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("schedule_key", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('active', 'unsubscribed')", name=op.f("ck_subscriptions_status")),
        sa.ForeignKeyConstraint(["schedule_key"], ["schedules.key"], name=op.f("fk_subscriptions_schedule_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("schedule_key", "address", "key", name=op.f("uq_subscriptions_schedule_key_address_key")),
    )
    op.create_index("ix_subscriptions_address", "subscriptions", ["address"])


def downgrade() -> None:
    op.drop_table("subscriptions")
