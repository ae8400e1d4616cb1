"""Approvals: runs that ask a person before they send, and the answers"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lapses_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("answer IN ('approved', 'rejected', 'lapsed')", name=op.f("ck_approvals_answer")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_approvals_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("run_id", "generation", name=op.f("uq_approvals_run_id_generation")),
    )
    unanswered = sa.text("answer IS NULL")
    op.create_index(
        "ix_approvals_open", "approvals", ["asked_at"], postgresql_where=unanswered, sqlite_where=unanswered
    )


def downgrade() -> None:
    op.drop_index("ix_approvals_open", "approvals")
    op.drop_table("approvals")
