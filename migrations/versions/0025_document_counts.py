"""A run's documents counted by status from an index alone"""

from alembic import op

revision = "0025"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_documents_run_id_status", "documents", ["run_id", "status"])


def downgrade() -> None:
    op.drop_index("ix_documents_run_id_status", table_name="documents")
