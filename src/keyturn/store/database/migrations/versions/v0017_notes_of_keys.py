"""What the owner of a key says of it."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
kind = "expand"


def upgrade() -> None:
    """Add the note. Those keys that there are have none."""
    op.add_column("api_key", sa.Column("note", sa.String(length=254), nullable=True))
