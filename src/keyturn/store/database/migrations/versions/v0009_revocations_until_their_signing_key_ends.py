"""Which signing key a revoked token is of: until that is gone the revocation is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
kind = "expand"
rows_of = ("revoked_token",)


def upgrade() -> None:
    """Add the column, and look revoked tokens up by it instead of by when they would have ended.

    What was revoked before is of a key that is not written down, and is kept.
    """
    op.drop_index("ix_revoked_token_expires_at", "revoked_token")
    op.add_column("revoked_token", sa.Column("kid", sa.String(length=64), nullable=True))
    op.create_index("ix_revoked_token_kid", "revoked_token", ["kid"])
