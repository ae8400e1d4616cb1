"""The index of repeats is of repeats alone: every delivery that is none had an entry in it, with each change"""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

NAME, TABLE, COLUMNS = "ix_deliveries_repeat_of", "deliveries", ["repeat_of"]


def upgrade() -> None:
    are_some = sa.text("repeat_of IS NOT NULL")
    op.drop_index(NAME, TABLE)
    op.create_index(NAME, TABLE, COLUMNS, postgresql_where=are_some, sqlite_where=are_some)


def downgrade() -> None:
    op.drop_index(NAME, TABLE)
    op.create_index(NAME, TABLE, COLUMNS)
