"""Which senders have how many places of a rate"""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("rate_uses") as rate_uses:
        rate_uses.add_column(sa.Column("held", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("rate_uses") as rate_uses:
        rate_uses.drop_column("held")
