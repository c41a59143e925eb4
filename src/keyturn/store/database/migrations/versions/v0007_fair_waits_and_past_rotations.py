"""Networks in which devices wait, and rotations that were followed by another."""

import sqlalchemy as sa
from alembic import op

# What the types of `store.schema` are stored as. A migration never imports the schema, which moves on.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()

revision = "0007"
down_revision = "0006"
kind = "contract"
rows_of = ("device_login", "former_secret")


def upgrade() -> None:
    """Add the column and the table. When a device last asked is no longer written down.

    A rotation from before is among the past ones as well: else a late retry would rotate once more.
    """
    with op.batch_alter_table("device_login") as device_login:
        device_login.add_column(sa.Column("network", sa.String(length=64), nullable=True))
        device_login.drop_column("polled_at")
    op.create_index("ix_device_login_network", "device_login", ["network", "expires_at"])
    op.create_table(
        "past_rotation",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_key.id"], name=op.f("fk_past_rotation_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", "idempotency_key", name=op.f("pk_past_rotation")),
    )
    op.execute(
        "INSERT INTO past_rotation (key_id, idempotency_key, at)"
        " SELECT key_id, idempotency_key, replaced_at FROM former_secret WHERE idempotency_key IS NOT NULL"
    )
