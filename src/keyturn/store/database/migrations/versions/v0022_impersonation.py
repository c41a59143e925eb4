"""Sessions of tokens that act for somebody say who acts."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
kind = "expand"


def upgrade() -> None:
    """Add the column. An older program beside this one leaves it empty."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("session", sa.Column("impersonator_id", number, nullable=True))
