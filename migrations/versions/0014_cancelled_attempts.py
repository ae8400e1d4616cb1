"""Cancelling: an attempt that was stopped with its run says so"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BEFORE = ("running", "succeeded", "failed", "retry", "parked", "abandoned")
AFTER = (*BEFORE, "cancelled")


def upgrade() -> None:
    _outcomes(AFTER)


def downgrade() -> None:
    op.execute("UPDATE attempts SET outcome = 'failed' WHERE outcome = 'cancelled'")
    _outcomes(BEFORE)


def _outcomes(allowed: tuple[str, ...]) -> None:
    name = op.f("ck_attempts_outcome")
    words = ", ".join(f"'{word}'" for word in allowed)
    with op.batch_alter_table("attempts") as attempts:
        attempts.drop_constraint(name, type_="check")
        attempts.create_check_constraint(name, sa.text(f"outcome IN ({words})"))
