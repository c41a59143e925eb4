"""Which keys asked for a connection last, found without reading the callers of all keys."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
kind = "expand"
rows_of = ("api_key_caller",)


def upgrade() -> None:
    """Add the index, of those rows alone."""
    of_connections = sa.text("via LIKE '% /data/connection/%'")
    op.create_index(
        "ix_api_key_caller_connection",
        "api_key_caller",
        ["via"],
        sqlite_where=of_connections,
        postgresql_where=of_connections,
    )
