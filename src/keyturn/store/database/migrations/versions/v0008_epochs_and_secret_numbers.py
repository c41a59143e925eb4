"""Epochs, which end tokens whatever a clock says, and numbers of the secrets of keys and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
kind = "contract"
rows_of = ("user_account", "api_key")


def upgrade() -> None:
    """Let an epoch take the place of the time before which tokens are dead.

    Where there was such a time the epoch begins at 1: tokens of an older program, which carry none, are then
    dead, those from after that time too. All others go on as if they carried epoch 0.
    """
    for name in ("user_account", "api_key"):
        op.add_column(name, _counter("epoch"))
        rows = sa.table(name, sa.column("epoch"), sa.column("tokens_not_before"))
        op.execute(rows.update().where(rows.c.tokens_not_before.is_not(None)).values(epoch=1))
        # Not by a copy of the table: SQLite deletes what refers to the rows of a table that is dropped.
        op.drop_column(name, "tokens_not_before")
    op.add_column("api_key", _counter("secret_number"))
    op.add_column("session", _counter("secret_number"))


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
