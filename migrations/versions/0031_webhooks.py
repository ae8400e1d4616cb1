"""Documents are posted to webhooks, too"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0026"
branch_labels = None
depends_on = None

BEFORE = ("email", "file")
AFTER = (*BEFORE, "webhook")


def upgrade() -> None:
    _channels(AFTER)


def downgrade() -> None:
    posted = "SELECT id FROM deliveries WHERE channel = 'webhook'"
    op.execute(f"DELETE FROM delivery_attempts WHERE delivery_id IN ({posted})")  # noqa: S608 - no value in it
    op.execute("DELETE FROM deliveries WHERE channel = 'webhook' AND repeat_of IS NOT NULL")
    op.execute("DELETE FROM deliveries WHERE channel = 'webhook'")
    _channels(BEFORE)


def _channels(allowed: tuple[str, ...]) -> None:
    name = op.f("ck_deliveries_channel")
    words = ", ".join(f"'{word}'" for word in allowed)
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.drop_constraint(name, type_="check")
        deliveries.create_check_constraint(name, sa.text(f"channel IN ({words})"))
