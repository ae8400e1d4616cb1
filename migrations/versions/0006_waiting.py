"""Programs, tasks of other applications, waiting: what was written is kept on the attempt, a look knows the last one"""

import sqlalchemy as sa
from alembic import op

from pipeline.models import PlainText

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("output", PlainText(), nullable=True))
    op.add_column("steps", sa.Column("memory", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("steps") as steps:
        steps.drop_column("memory")
    with op.batch_alter_table("attempts") as attempts:
        attempts.drop_column("output")
