"""Who opted out of a schedule's reports; which documents a combined message carries"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "opt_outs",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("schedule_key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["schedule_key"], ["schedules.key"], name=op.f("fk_opt_outs_schedule_key")),
        sa.PrimaryKeyConstraint("address", "schedule_key", name=op.f("pk_opt_outs")),
    )
    op.create_table(
        "delivery_documents",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_documents_delivery_id")),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_delivery_documents_document_id")),
        sa.PrimaryKeyConstraint("delivery_id", "document_id", name=op.f("pk_delivery_documents")),
    )
    op.create_index("ix_delivery_documents_document_id", "delivery_documents", ["document_id"])


def downgrade() -> None:
    op.drop_table("delivery_documents")
    op.drop_table("opt_outs")
