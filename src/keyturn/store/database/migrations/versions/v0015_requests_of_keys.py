"""The methods and paths of the requests that a key may be used for."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
kind = "expand"


def upgrade() -> None:
    """Let keys be restricted to methods and paths. Those that there are may be used for any request."""
    for name in ("methods", "paths"):
        op.add_column("api_key", sa.Column(name, sa.Text(), nullable=True))
