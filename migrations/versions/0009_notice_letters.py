"""Which message a notice went into, so that a repeated one is known as such"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("notice_deliveries") as table:
        table.add_column(sa.Column("letter_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("notice_deliveries") as table:
        table.drop_column("letter_id")
