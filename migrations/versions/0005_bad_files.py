"""Bad files: which schedule files are wrong, how, and since when"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bad_files",
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("schedule_key", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("file", name=op.f("pk_bad_files")),
    )


def downgrade() -> None:
    op.drop_table("bad_files")
