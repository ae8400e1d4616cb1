"""Links that were taken back before they ended"""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "withdrawn_links",
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_withdrawn_links_run_id")),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_withdrawn_links")),
    )
    op.create_index("ix_withdrawn_links_run_id", "withdrawn_links", ["run_id"])


def downgrade() -> None:
    op.drop_table("withdrawn_links")
