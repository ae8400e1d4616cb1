"""Backfills: ranges of slots that are run after the fact"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backfills",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("schedule_key", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("again", sa.Boolean(), nullable=False),
        sa.Column("triggered_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("filled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_by", sa.Text(), nullable=True),
        sa.CheckConstraint("first IN ('oldest', 'newest')", name=op.f("ck_backfills_first")),
        sa.ForeignKeyConstraint(["schedule_key"], ["schedules.key"], name=op.f("fk_backfills_schedule_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfills")),
    )
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_backfills_open", "backfills", ["created_at"], postgresql_where=unfinished, sqlite_where=unfinished
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("backfill_id", sa.Uuid(), nullable=True))
        batch_op.create_index(batch_op.f("ix_runs_backfill_id"), ["backfill_id"], unique=False)
        batch_op.create_foreign_key(batch_op.f("fk_runs_backfill_id"), "backfills", ["backfill_id"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_runs_backfill_id"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_runs_backfill_id"))
        batch_op.drop_column("backfill_id")
    op.drop_index("ix_backfills_open", "backfills")
    op.drop_table("backfills")
