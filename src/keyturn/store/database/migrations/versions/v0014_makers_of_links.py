"""Who made a link to set a password."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
kind = "contract"
rows_of = ("invitation",)


def upgrade() -> None:
    """Let links say who made them. Those from before do not say it: nothing would end them, so they end."""
    for name in ("maker_user_id", "maker_key_id", "maker_epoch", "maker_password_number"):
        op.add_column("invitation", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column(
        "user_account", sa.Column("password_number", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.execute(sa.delete(sa.table("invitation")))
