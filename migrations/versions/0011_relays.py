"""Relays and rates that all workers share; deliveries that are sent once more on purpose, and the class of an answer"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

UNIQUE = ("run_id", "channel", "address", "key")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "relays",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("stopped_at", INSTANT, nullable=True),
        sa.Column("stopped_by", sa.Text(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("blocked_at", INSTANT, nullable=True),
        sa.Column("block_reason", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("down_since", INSTANT, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", INSTANT, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_answer_at", INSTANT, nullable=True),
        sa.Column("pace", sa.Double(), nullable=True),
        sa.Column("full_pace", sa.Double(), nullable=True),
        sa.Column("paced_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_relays")),
    )
    op.create_table(
        "rate_uses",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spans", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rate_uses")),
    )
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.add_column(sa.Column("repeat", sa.Integer(), nullable=False, server_default="0"))
        deliveries.add_column(sa.Column("repeat_of", sa.Uuid(), nullable=True))
        deliveries.add_column(sa.Column("cause", sa.Text(), nullable=True))
        deliveries.create_foreign_key(op.f("fk_deliveries_repeat_of"), "deliveries", ["repeat_of"], ["id"])
        deliveries.drop_constraint(op.f("uq_deliveries_run_id_channel_address_key"), type_="unique")
        deliveries.create_unique_constraint(
            op.f("uq_deliveries_run_id_channel_address_key_repeat"), [*UNIQUE, "repeat"]
        )
    op.create_index("ix_deliveries_repeat_of", "deliveries", ["repeat_of"])
    content = sa.text("cause = 'content'")
    op.create_index("ix_deliveries_content", "deliveries", ["run_id"], postgresql_where=content, sqlite_where=content)


def downgrade() -> None:
    op.drop_index("ix_deliveries_content", "deliveries")
    op.drop_index("ix_deliveries_repeat_of", "deliveries")
    op.execute("DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE repeat > 0)")
    op.execute("DELETE FROM deliveries WHERE repeat > 0")
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.drop_constraint(op.f("uq_deliveries_run_id_channel_address_key_repeat"), type_="unique")
        deliveries.create_unique_constraint(op.f("uq_deliveries_run_id_channel_address_key"), UNIQUE)
        deliveries.drop_constraint(op.f("fk_deliveries_repeat_of"), type_="foreignkey")
        for name in ("cause", "repeat_of", "repeat"):
            deliveries.drop_column(name)
    op.drop_table("rate_uses")
    op.drop_table("relays")
