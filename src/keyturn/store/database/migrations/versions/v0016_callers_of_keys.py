"""Who presents a key, and how often it is refused."""

import sqlalchemy as sa
from alembic import op

# What the types of `store.schema` are stored as. A migration never imports the schema, which moves on.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()

revision = "0016"
down_revision = "0015"
kind = "expand"


def upgrade() -> None:
    """Count refusals beside uses, and keep callers. Of the time before, neither is known."""
    op.add_column("api_key_use", sa.Column("refused", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "api_key_caller",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=255), nullable=False),
        sa.Column("via", sa.String(length=255), nullable=True),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_key.id"], name=op.f("fk_api_key_caller_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", "address", "agent", name=op.f("pk_api_key_caller")),
    )
