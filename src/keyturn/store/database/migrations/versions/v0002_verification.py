"""What verification in several processes needs: changes by revision, networks of a key, uses per hour."""

import sqlalchemy as sa
from alembic import op

# What the types of `store.schema` are stored as. A migration never imports the schema, which moves on.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()
_JSON = sa.Text()

revision = "0002"
down_revision = "0001"
kind = "contract"
rows_of = ("audit",)


def upgrade() -> None:
    """Add the columns, the index and the table."""
    op.add_column("api_key", sa.Column("sources", _JSON, nullable=True))
    op.add_column("api_key", sa.Column("tokens_not_before", _TIME, nullable=True))
    op.add_column("user_account", sa.Column("tokens_not_before", _TIME, nullable=True))
    op.add_column("installation", sa.Column("announced", _JSON, nullable=True))
    op.add_column("signing_key", sa.Column("public_jwk", _JSON, nullable=True))
    op.create_table(
        "revoked_token",
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_revoked_token")),
    )
    op.create_index("ix_revoked_token_expires_at", "revoked_token", ["expires_at"])
    op.create_table(
        "api_key_use",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_key.id"], name=op.f("fk_api_key_use_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", "hour", name=op.f("pk_api_key_use")),
    )
    # Last, since changes lock in this order too: an older server may be at work.
    op.create_index("ix_audit_revision", "audit", ["revision"], unique=True)
