"""When the password of a session was last given."""

import sqlalchemy as sa
from alembic import op

# What the types of `store.schema` are stored as. A migration never imports the schema, which moves on.
_TIME = sa.BigInteger()

revision = "0010"
down_revision = "0009"
kind = "contract"
rows_of = ("session",)


def upgrade() -> None:
    """Add the column: a session began with a password. An older program beside this one leaves it empty."""
    with op.batch_alter_table("session") as session:
        session.add_column(sa.Column("proved_at", _TIME, nullable=True))
    op.execute("UPDATE session SET proved_at = created_at")
