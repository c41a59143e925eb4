"""The zone in which pages tell a person times."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
kind = "expand"


def upgrade() -> None:
    """Add the time zone. Nobody has chosen one yet."""
    op.add_column("profile", sa.Column("time_zone", sa.String(length=64), nullable=True))
