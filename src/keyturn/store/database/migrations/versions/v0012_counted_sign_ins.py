"""Failed sign-ins that are only counted."""

import sqlalchemy as sa
from alembic import op

_TIME = sa.BigInteger()
"""What a time of `store.schema` is stored as. A migration never imports the schema, which moves on."""

revision = "0012"
down_revision = "0011"
kind = "expand"


def upgrade() -> None:
    """Add the table. Rows that the audit log has of such sign-ins stay there."""
    op.create_table(
        "failed_sign_in",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("target_id", sa.String(length=32), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("user_agent", sa.String(length=255), nullable=True),
        sa.Column("request_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("day", "network", "target_id", name=op.f("pk_failed_sign_in")),
    )
    op.create_index("ix_failed_sign_in_last_at", "failed_sign_in", ["last_at"])
