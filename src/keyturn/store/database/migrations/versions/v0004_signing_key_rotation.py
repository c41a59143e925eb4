"""Signing keys follow each other: when each signs, and until when it verifies."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
kind = "contract"


def upgrade() -> None:
    """Add the times. A key that is there signs since it was made."""
    with op.batch_alter_table("signing_key") as signing_key:
        signing_key.add_column(sa.Column("signs_from", sa.BigInteger(), nullable=False, server_default="0"))
        signing_key.alter_column(
            "retired_at", new_column_name="verifies_until", existing_type=sa.BigInteger()
        )
        signing_key.alter_column("sealed_jwk", existing_type=sa.LargeBinary(), nullable=True)
    op.execute("UPDATE signing_key SET signs_from = created_at")
    with op.batch_alter_table("signing_key") as signing_key:
        signing_key.alter_column("signs_from", existing_type=sa.BigInteger(), server_default=None)
