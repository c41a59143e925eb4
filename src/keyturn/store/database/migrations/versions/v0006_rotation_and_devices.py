"""Secrets that were rotated away and still work for a while, and devices that ask to be signed in."""

import sqlalchemy as sa
from alembic import op

# What the types of `store.schema` are stored as. A migration never imports the schema, which moves on.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()
_JSON = sa.Text()

revision = "0006"
down_revision = "0005"
kind = "expand"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "former_secret",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("replaced_at", _TIME, nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_key.id"], name=op.f("fk_former_secret_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_former_secret")),
        sa.UniqueConstraint("digest", name=op.f("uq_former_secret_digest")),
    )
    op.create_table(
        "device_login",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_code_digest", sa.LargeBinary(), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("scopes", _JSON, nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("polled_at", _TIME, nullable=True),
        sa.Column("is_denied", sa.Boolean(), nullable=False),
        sa.Column("session_id", _ID, nullable=True),
        sa.Column("key_expires_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"], ["session.id"], name=op.f("fk_device_login_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_device_login")),
        sa.UniqueConstraint("user_code_digest", name=op.f("uq_device_login_user_code_digest")),
    )
    op.create_index("ix_device_login_expires_at", "device_login", ["expires_at"])
